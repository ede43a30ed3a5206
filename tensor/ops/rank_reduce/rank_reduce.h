#ifndef HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_H_
#define HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_H_

// The arithmetic of a reduction between ranks that share memory.

#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/reduce_op.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Every output = ((inputs[0] op inputs[1]) op inputs[2]) ..., element by element: the bits depend
// on the order of the inputs only. One pass: reads each input once and writes each output once.
// Shapes: all equal and contiguous. An output may be one of the inputs. f64, f32, i32, i64, and on
// a GPU bf16, combined in f32 and rounded once. A GPU takes up to 128 inputs and outputs.
// Errors: INVALID_ARGUMENT naming the operand and what it should be.
absl::Status RankReduce(std::span<const ConstTensorView> inputs,
                        std::span<const TensorView> outputs, ReduceOp op, Stream& stream);

namespace internal {

// Preconditions: validated arguments.
absl::Status RankReduceCpu(std::span<const ConstTensorView> inputs,
                           std::span<const TensorView> outputs, ReduceOp op);
absl::Status RankReduceCuda(std::span<const ConstTensorView> inputs,
                            std::span<const TensorView> outputs, ReduceOp op, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_RANK_REDUCE_RANK_REDUCE_H_
