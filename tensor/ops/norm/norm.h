#ifndef HETERO_TENSOR_OPS_NORM_NORM_H_
#define HETERO_TENSOR_OPS_NORM_NORM_H_

// Row normalisations with the residual add that precedes them.
//
//   RMSNorm    y = x r γ,           r = 1/sqrt(mean(x²) + ε)          (Zhang, Sennrich 2019)
//   LayerNorm  y = (x - μ) r γ + β, r = 1/sqrt(mean((x - μ)²) + ε)    (Ba, Kiros, Hinton 2016)
//
// Shape letters: T rows (any number, also zero), C columns (at least one).
// Rows may have gaps; vectors are dense. Values have one storage dtype; statistics and parameter
// gradients are in its compute dtype. Sums run in a fixed order.
// Errors: INVALID_ARGUMENT naming the operand.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Floor: each of the given [T,C] views is moved once.
struct NormForwardArgs {
  ConstTensorView x_TC;
  ConstTensorView residual_TC;  // null: x alone is normalised; else x + residual
  ConstTensorView weight_C;
  ConstTensorView bias_C;  // LayerNorm only
  TensorView sum_TC;       // x + residual, wanted with a residual; may be x or residual itself
  TensorView y_TC;         // may be x where x is not needed again
  TensorView mean_T;       // LayerNorm only; saved for backward
  TensorView rstd_T;       // saved for backward
  double epsilon = 1e-5;
};

absl::Status RmsNormForward(const NormForwardArgs& args, Stream& stream);
absl::Status LayerNormForward(const NormForwardArgs& args, Stream& stream);

// dx is the gradient of what was normalised: with a residual, of the sum, which both summands take.
struct NormBackwardArgs {
  ConstTensorView dy_TC;
  ConstTensorView x_TC;  // what was normalised: x, or the sum
  ConstTensorView weight_C;
  ConstTensorView mean_T;  // LayerNorm only
  ConstTensorView rstd_T;
  ConstTensorView dsum_TC;  // null: none; else added to dx: what reaches the sum by other ways
  TensorView dx_TC;         // null: not wanted; may be dy or dsum itself
  TensorView dweight_C;     // null: not wanted
  TensorView dbias_C;       // LayerNorm only; wanted with dweight
  bool accumulate = true;   // add to dweight and dbias instead of overwriting them
};

absl::Status RmsNormBackward(const NormBackwardArgs& args, Stream& stream);
absl::Status LayerNormBackward(const NormBackwardArgs& args, Stream& stream);

namespace internal {

// `centered`: LayerNorm, else RMSNorm. Precondition: validated arguments.
absl::Status NormForwardCpu(const NormForwardArgs& args, bool centered);
absl::Status NormBackwardCpu(const NormBackwardArgs& args, bool centered);
absl::Status NormForwardCuda(const NormForwardArgs& args, bool centered, Stream& stream);
// `partials_SPC` f32 [sums, parts of RowParts(T), C]: scratch for dweight and, centered, dbias;
// null where dweight is not wanted.
absl::Status NormBackwardCuda(const NormBackwardArgs& args, bool centered,
                              const TensorView& partials_SPC, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_NORM_NORM_H_
