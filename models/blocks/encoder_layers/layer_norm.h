#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_

// LayerNorm with weight and bias over rows, and what backward needs of it. R rows of a rank, C
// hidden.

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A LayerNorm's parameters and what it keeps for backward.
struct LayerNormParameters {
  Parameter* weight_C = nullptr;
  Parameter* bias_C = nullptr;
};
struct SavedLayerNorm {
  ConstTensorView input_RC;
  TensorView mean_R;
  TensorView rstd_R;
};

// Returns what is normalised, in context.brief(), and fills `saved`, in the activation arena.
absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, ConstTensorView input_RC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved);

// As above of input + residual, which replaces `input_RC`.
absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, TensorView input_RC,
                                          ConstTensorView residual_RC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved);

// What was normalised once more, in context.recomputed(); statistics are written again.
absl::StatusOr<TensorView> LayerNormAgain(ModuleContext& context, const SavedLayerNorm& saved,
                                          const LayerNormParameters& parameters, double epsilon);

// dx = dsum + the gradient through the norm; `dsum_RC` null: none. dx may be dy or dsum.
absl::Status LayerNormGradient(ModuleContext& context, const SavedLayerNorm& saved,
                               ConstTensorView dy_RC, ConstTensorView dsum_RC, TensorView dx_RC,
                               const LayerNormParameters& parameters);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_
