#ifndef HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_H_
#define HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_H_

// Cross entropy over a vocabulary whose columns may be spread over ranks (Shoeybi et al. 2019,
// Megatron-LM, section 3). With M the maximum of a row over all shards and y its target,
//
//   loss = log Σ_v exp(x_v - M) - (x_y - M),   dx_v = w (exp(x_v - M) / Σ - [v = y])
//
// A target that no shard holds, such as the customary -100, gives the finite loss log Σ, which
// means nothing and which a weight w of 0 removes.
//
// Shape letters: T rows, V columns held here.
// Logits may have gaps between rows; vectors are dense; targets are i32 columns of the whole
// vocabulary; everything else is in the compute dtype of the logits. Statistics are in the compute
// dtype. Errors: INVALID_ARGUMENT naming the operand.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// The whole of it where one rank holds all columns, at least one: one pass over each row.
struct CrossEntropyArgs {
  TensorView logits_TV;  // becomes the gradient where weight is given, else unchanged
  ConstTensorView targets_T;
  ConstTensorView weight_T;  // w; null: no gradient
  TensorView loss_T;
  TensorView argmax_T;  // i32, null: not wanted; the lowest of equal columns
};
absl::Status CrossEntropy(const CrossEntropyArgs& args, Stream& stream);

// The same in pieces, for columns [first_column, first_column + V), of which there may be none.
// Between them the caller reduces `max` by maximum, `sums` by addition and `argmax` by minimum over
// the shards.

// max = max_v x_v; without columns -inf.
absl::Status CrossEntropyMaximum(const ConstTensorView& logits_TV, const TensorView& max_T,
                                 Stream& stream);

// sums[0] = x_y - M where y is held here, else 0; sums[1] = Σ_v exp(x_v - M).
struct CrossEntropySumsArgs {
  ConstTensorView logits_TV;
  int64_t first_column = 0;
  ConstTensorView targets_T;
  ConstTensorView max_T;  // M
  TensorView sums_2T;
  // i32, null: not wanted; the lowest column of the whole vocabulary that is held here and has M,
  // the largest i32 where none has.
  TensorView argmax_T;
};
absl::Status CrossEntropySums(const CrossEntropySumsArgs& args, Stream& stream);

// loss = log sums[1] - sums[0].
absl::Status CrossEntropyLoss(const ConstTensorView& sums_2T, const TensorView& loss_T,
                              Stream& stream);

// logits = w (exp(x - M) / sums[1] - [v = y]), in place.
absl::Status CrossEntropyGradient(const TensorView& logits_TV, int64_t first_column,
                                  const ConstTensorView& targets_T, const ConstTensorView& max_T,
                                  const ConstTensorView& sums_2T, const ConstTensorView& weight_T,
                                  Stream& stream);

// totals += {Σ_t w loss, Σ_t w}, f64, summed in f64 in an order that T alone fixes.
absl::Status AddWeightedLoss(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                             const TensorView& totals_2, Stream& stream);

namespace internal {

// Preconditions: validated arguments.
absl::Status CrossEntropyCpu(const CrossEntropyArgs& args);
absl::Status CrossEntropyMaximumCpu(const ConstTensorView& logits_TV, const TensorView& max_T);
absl::Status CrossEntropySumsCpu(const CrossEntropySumsArgs& args);
absl::Status CrossEntropyLossCpu(const ConstTensorView& sums_2T, const TensorView& loss_T);
absl::Status CrossEntropyGradientCpu(const TensorView& logits_TV, int64_t first_column,
                                     const ConstTensorView& targets_T, const ConstTensorView& max_T,
                                     const ConstTensorView& sums_2T,
                                     const ConstTensorView& weight_T);
absl::Status AddWeightedLossCpu(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                                const TensorView& totals_2);

absl::Status CrossEntropyCuda(const CrossEntropyArgs& args, Stream& stream);
absl::Status CrossEntropyMaximumCuda(const ConstTensorView& logits_TV, const TensorView& max_T,
                                     Stream& stream);
absl::Status CrossEntropySumsCuda(const CrossEntropySumsArgs& args, Stream& stream);
absl::Status CrossEntropyLossCuda(const ConstTensorView& sums_2T, const TensorView& loss_T,
                                  Stream& stream);
absl::Status CrossEntropyGradientCuda(const TensorView& logits_TV, int64_t first_column,
                                      const ConstTensorView& targets_T,
                                      const ConstTensorView& max_T, const ConstTensorView& sums_2T,
                                      const ConstTensorView& weight_T, Stream& stream);
absl::Status AddWeightedLossCuda(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                                 const TensorView& totals_2, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_H_
