#include "hetero/models/blocks/encoder_layers/layer_norm.h"

#include "hetero/base/status.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {
namespace {

absl::Status Run(NormForwardArgs args, const LayerNormParameters& parameters, double epsilon,
                 const SavedLayerNorm& statistics, const TensorView& normed_RC, Stream& stream) {
  args.weight_C = parameters.weight_C->value;
  args.bias_C = parameters.bias_C->value;
  args.y_TC = normed_RC;
  args.mean_T = statistics.mean_R;
  args.rstd_T = statistics.rstd_R;
  args.epsilon = epsilon;
  HETERO_RETURN_IF_ERROR(LayerNormForward(args, stream)).With(parameters.weight_C->spec->name);
  return absl::OkStatus();
}

absl::Status Normalise(ModuleContext& context, NormForwardArgs args,
                       const LayerNormParameters& parameters, double epsilon, SavedLayerNorm& saved,
                       TensorView& normed_RC) {
  const DType dtype = args.x_TC.dtype();
  const DType compute = ComputeDType(dtype);
  const int64_t rows = args.x_TC.dim(0);
  HETERO_ASSIGN_OR_RETURN(normed_RC, context.brief().Allocate(dtype, args.x_TC.dims()));
  HETERO_ASSIGN_OR_RETURN(saved.mean_R, context.activations.Allocate(compute, {rows}));
  HETERO_ASSIGN_OR_RETURN(saved.rstd_R, context.activations.Allocate(compute, {rows}));
  return Run(args, parameters, epsilon, saved, normed_RC, context.stream);
}
}  // namespace

absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, TensorView input_RC,
                                          ConstTensorView residual_RC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved) {
  TensorView normed_RC;
  HETERO_RETURN_IF_ERROR(
      Normalise(context, {.x_TC = input_RC, .residual_TC = residual_RC, .sum_TC = input_RC},
                parameters, epsilon, saved, normed_RC));
  saved.input_RC = input_RC;
  return normed_RC;
}

absl::StatusOr<TensorView> ApplyLayerNorm(ModuleContext& context, ConstTensorView input_RC,
                                          const LayerNormParameters& parameters, double epsilon,
                                          SavedLayerNorm& saved) {
  TensorView normed_RC;
  HETERO_RETURN_IF_ERROR(
      Normalise(context, {.x_TC = input_RC}, parameters, epsilon, saved, normed_RC));
  saved.input_RC = input_RC;
  return normed_RC;
}

absl::StatusOr<TensorView> LayerNormAgain(ModuleContext& context, const SavedLayerNorm& saved,
                                          const LayerNormParameters& parameters, double epsilon) {
  HETERO_ASSIGN_OR_RETURN(
      const TensorView normed_RC,
      context.recomputed().Allocate(saved.input_RC.dtype(), saved.input_RC.dims()));
  HETERO_RETURN_IF_ERROR(
      Run({.x_TC = saved.input_RC}, parameters, epsilon, saved, normed_RC, context.stream));
  return normed_RC;
}

absl::Status LayerNormGradient(ModuleContext& context, const SavedLayerNorm& saved,
                               ConstTensorView dy_RC, ConstTensorView dsum_RC, TensorView dx_RC,
                               const LayerNormParameters& parameters) {
  Parameter& weight_C = *parameters.weight_C;
  Parameter& bias_C = *parameters.bias_C;
  const WeightGradient d_weight = WeightGradientOf(context, weight_C);
  const WeightGradient d_bias = WeightGradientOf(context, bias_C);
  HETERO_RETURN_IF_ERROR(LayerNormBackward({.dy_TC = dy_RC,
                                            .x_TC = saved.input_RC,
                                            .weight_C = weight_C.value,
                                            .mean_T = saved.mean_R,
                                            .rstd_T = saved.rstd_R,
                                            .dsum_TC = dsum_RC,
                                            .dx_TC = dx_RC,
                                            .dweight_C = d_weight.view,
                                            .dbias_C = d_bias.view,
                                            .accumulate = d_weight.accumulate},
                                           context.stream))
      .With(weight_C.spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
