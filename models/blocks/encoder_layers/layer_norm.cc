#include "hetero/models/blocks/encoder_layers/layer_norm.h"

#include "hetero/base/status.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {
namespace {

absl::Status Normalise(ModuleContext& context, NormForwardArgs args,
                       const LayerNormParameters& parameters, double epsilon, SavedLayerNorm& saved,
                       TensorView& normed_SC) {
  const DType dtype = args.x_TC.dtype();
  const DType compute = ComputeDType(dtype);
  const int64_t rows = args.x_TC.dim(0);
  HETERO_ASSIGN_OR_RETURN(normed_SC, context.activations.Allocate(dtype, args.x_TC.dims()));
  HETERO_ASSIGN_OR_RETURN(saved.mean_S, context.activations.Allocate(compute, {rows}));
  HETERO_ASSIGN_OR_RETURN(saved.rstd_S, context.activations.Allocate(compute, {rows}));
  args.weight_C = parameters.weight_C->value;
  args.bias_C = parameters.bias_C->value;
  args.y_TC = normed_SC;
  args.mean_T = saved.mean_S;
  args.rstd_T = saved.rstd_S;
  args.epsilon = epsilon;
  HETERO_RETURN_IF_ERROR(LayerNormForward(args, context.stream))
      .With(parameters.weight_C->spec->name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, TensorView input_SC,
                                          ConstTensorView residual_SC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved) {
  TensorView normed_SC;
  HETERO_RETURN_IF_ERROR(
      Normalise(context, {.x_TC = input_SC, .residual_TC = residual_SC, .sum_TC = input_SC},
                parameters, epsilon, saved, normed_SC));
  saved.input_SC = input_SC;
  return normed_SC;
}

absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, ConstTensorView input_SC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved) {
  TensorView normed_SC;
  HETERO_RETURN_IF_ERROR(
      Normalise(context, {.x_TC = input_SC}, parameters, epsilon, saved, normed_SC));
  saved.input_SC = input_SC;
  return normed_SC;
}

absl::Status LayerNormGradient(ModuleContext& context, const SavedLayerNorm& saved,
                               ConstTensorView dy_SC, ConstTensorView dsum_SC, TensorView dx_SC,
                               const LayerNormParameters& parameters) {
  Parameter& weight_C = *parameters.weight_C;
  Parameter& bias_C = *parameters.bias_C;
  const WeightGradient d_weight = WeightGradientOf(context, weight_C);
  const WeightGradient d_bias = WeightGradientOf(context, bias_C);
  HETERO_RETURN_IF_ERROR(LayerNormBackward({.dy_TC = dy_SC,
                                            .x_TC = saved.input_SC,
                                            .weight_C = weight_C.value,
                                            .mean_T = saved.mean_S,
                                            .rstd_T = saved.rstd_S,
                                            .dsum_TC = dsum_SC,
                                            .dx_TC = dx_SC,
                                            .dweight_C = d_weight.view,
                                            .dbias_C = d_bias.view,
                                            .accumulate = d_weight.accumulate},
                                           context.stream))
      .With(weight_C.spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
