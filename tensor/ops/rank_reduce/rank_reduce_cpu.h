#ifndef HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_CPU_H_
#define HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_CPU_H_

#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/reduce_op.h"
#include "hetero/tensor/view.h"

namespace hetero::internal {

// Precondition: validated by RankReduce, apart from the element type.
absl::Status RankReduceCpu(std::span<const ConstTensorView> inputs,
                           std::span<const TensorView> outputs, ReduceOp op);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_CPU_H_
