#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_

// LayerNorm with weight and bias over rows, and what backward needs of it. S rows, C hidden.

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
  ConstTensorView input_SC;
  TensorView mean_S;
  TensorView rstd_S;
};

// Returns what is normalised, and fills `saved`, all in the activation arena.
absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, ConstTensorView input_SC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved);

// As above of input + residual, which replaces `input_SC`.
absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, TensorView input_SC,
                                          ConstTensorView residual_SC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved);

// dx = dsum + the gradient through the norm; `dsum_SC` null: none. dx may be dy or dsum.
absl::Status LayerNormGradient(ModuleContext& context, const SavedLayerNorm& saved,
                               ConstTensorView dy_SC, ConstTensorView dsum_SC, TensorView dx_SC,
                               const LayerNormParameters& parameters);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_NORM_H_
