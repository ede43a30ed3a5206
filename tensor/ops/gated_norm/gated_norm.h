#ifndef HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_H_
#define HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_H_

// SiLU gate followed by an RMS norm over groups of channels: the output norm of a Mamba-2 mixer
// (Dao and Gu, arXiv:2405.21060, section 7). For each row and group of I / G channels
//
//   v = y z sigmoid(z),   out = weight v / sqrt(mean(v^2) + epsilon)
//
// Shape letters: T rows, I channels, G groups. Row-major views may be column slices of wider
// matrices. All operands have one dtype, the weight gradient its compute type.
//
// Floor: forward reads y and z and writes out; backward reads y, z, d_out and writes d_y, d_z, and
// computes gate and statistics again instead of reading saved ones.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/row_parts.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct GatedNormInputs {
  ConstTensorView y_TI;
  ConstTensorView z_TI;
  ConstTensorView weight_I;
  int64_t num_groups;  // divides I
  double epsilon;
};

struct GatedNormGradients {
  TensorView d_y_TI;  // may be the d_out of the call
  TensorView d_z_TI;
  TensorView d_weight_I;    // dense; null: not wanted
  bool accumulate = false;  // add to the weight gradient instead of overwriting it
};

// Errors: INVALID_ARGUMENT for operands that do not fit.
absl::Status GatedNormForward(const GatedNormInputs& inputs, TensorView out_TI, Stream& stream);

// `inputs` as forward had them. Errors: INVALID_ARGUMENT for operands that do not fit.
absl::Status GatedNormBackward(const GatedNormInputs& inputs, ConstTensorView d_out_TI,
                               const GatedNormGradients& gradients, Stream& stream);

namespace internal {

// Preconditions: validated operands. `gate` has room for two groups of channels, `weight_sum_I` for
// all channels, both of the compute type.
absl::Status GatedNormForwardCpu(const GatedNormInputs& inputs, const TensorView& out_TI);
absl::Status GatedNormBackwardCpu(const GatedNormInputs& inputs, const ConstTensorView& d_out_TI,
                                  const GatedNormGradients& gradients, const TensorView& gate,
                                  const TensorView& weight_sum_I);

// Rows that a GPU sums by itself: several for each of a block's warps.
inline RowParts GatedNormParts(const GatedNormInputs& inputs) {
  return RowParts(inputs.y_TI.dim(0), /*min_rows_per_part=*/64);
}
absl::Status GatedNormForwardCuda(const GatedNormInputs& inputs, const TensorView& out_TI,
                                  Stream& stream);
// `partials_PI` f32 [parts of GatedNormParts, I]: scratch; null where d_weight is not wanted.
absl::Status GatedNormBackwardCuda(const GatedNormInputs& inputs, const ConstTensorView& d_out_TI,
                                   const GatedNormGradients& gradients,
                                   const TensorView& partials_PI, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_H_
