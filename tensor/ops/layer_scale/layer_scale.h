#ifndef HETERO_TENSOR_OPS_LAYER_SCALE_LAYER_SCALE_H_
#define HETERO_TENSOR_OPS_LAYER_SCALE_LAYER_SCALE_H_

// What a layer adds to the stream, each channel by a learned factor (Touvron et al. 2021,
// arXiv:2103.17239, section 3):
//
//   y = residual + scale x
//
// Shape letters: T rows (any number, also zero), C channels. Rows may have gaps; vectors are dense.
// Values have one storage dtype; dscale is in its compute dtype. Floor: forward reads x and the
// residual and writes y, backward reads dy and x and writes dx, each once.
// Errors: INVALID_ARGUMENT naming the operand.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct LayerScaleForwardArgs {
  ConstTensorView x_TC;
  ConstTensorView residual_TC;
  ConstTensorView scale_C;
  TensorView y_TC;  // may be x or the residual itself
};
absl::Status LayerScaleForward(const LayerScaleForwardArgs& args, Stream& stream);

// The gradient of the residual is dy.
struct LayerScaleBackwardArgs {
  ConstTensorView dy_TC;
  ConstTensorView x_TC;
  ConstTensorView scale_C;
  TensorView dx_TC;         // may be dy or x itself
  TensorView dscale_C;      // null: not wanted; Σ_t dy x in row order
  bool accumulate = false;  // add to dscale instead of overwriting it
};
absl::Status LayerScaleBackward(const LayerScaleBackwardArgs& args, Stream& stream);

namespace internal {

// Preconditions: validated arguments.
absl::Status LayerScaleForwardCpu(const LayerScaleForwardArgs& args);
absl::Status LayerScaleBackwardCpu(const LayerScaleBackwardArgs& args);

absl::Status LayerScaleForwardCuda(const LayerScaleForwardArgs& args, Stream& stream);
// `partials_PC` f32 [parts of RowParts(T), C]: scratch; null where dscale is not wanted.
absl::Status LayerScaleBackwardCuda(const LayerScaleBackwardArgs& args,
                                    const TensorView& partials_PC, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_LAYER_SCALE_LAYER_SCALE_H_
