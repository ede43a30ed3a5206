#ifndef HETERO_TENSOR_OPS_EXACT_MATCH_EXACT_MATCH_H_
#define HETERO_TENSOR_OPS_EXACT_MATCH_EXACT_MATCH_H_

// How many rows of a batch a model got right from the first to the last token that counts.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// N tokens at ascending `positions_N`; token t belongs to row t / row_length. Adds to counts_2 the
// number of rows with at least one token, and of those where predicted = target at all of them.
// Indices are dense i32, counts_2 is i64[2].
// Errors: INVALID_ARGUMENT naming the operand.
struct ExactMatchArgs {
  ConstTensorView predicted_N;
  ConstTensorView targets_N;
  ConstTensorView positions_N;
  int64_t row_length = 0;
  TensorView counts_2;
};
absl::Status CountExactMatches(const ExactMatchArgs& args, Stream& stream);

namespace internal {

absl::Status CountExactMatchesCpu(const ExactMatchArgs& args);
absl::Status CountExactMatchesCuda(const ExactMatchArgs& args, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_EXACT_MATCH_EXACT_MATCH_H_
