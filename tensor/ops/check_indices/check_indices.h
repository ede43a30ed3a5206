#ifndef HETERO_TENSOR_OPS_CHECK_INDICES_CHECK_INDICES_H_
#define HETERO_TENSOR_OPS_CHECK_INDICES_CHECK_INDICES_H_

// Indices outside their range, found where the indices are: at once on the host, and on a GPU, for
// which no host waits, as a count that ends the step.

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct CheckIndicesArgs {
  std::string_view what;      // of an index, for the error: "token id"
  ConstTensorView indices_N;  // i32, dense; each belongs in [0, limit)
  int64_t limit = 0;
  ConstTensorView weight_N;  // f32 or f64: an index of weight 0 may be anything; null: none may
  TensorView outside_1;      // i64: a GPU adds the number of those outside; null: it does not look
};
// Errors: INVALID_ARGUMENT naming the operand; on the CPU also "token id 600 at 17; expected 0 to
// 511" for the first index outside.
absl::Status CheckIndices(const CheckIndicesArgs& args, Stream& stream);

namespace internal {

absl::Status CheckIndicesCpu(const CheckIndicesArgs& args);
absl::Status CheckIndicesCuda(const CheckIndicesArgs& args, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CHECK_INDICES_CHECK_INDICES_H_
