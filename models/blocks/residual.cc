#include "hetero/models/blocks/residual.h"

#include "hetero/base/status.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {

absl::Status AddWeightGradient(ModuleContext& context, ConstTensorView dy_TN, ConstTensorView x_TK,
                               Parameter& weight_NK) {
  const WeightGradient gradient = WeightGradientOf(context, weight_NK);
  if (!gradient.wanted()) return absl::OkStatus();
  return NowOrLater(
      context, dy_TN,
      [x_TK, gradient, spec = weight_NK.spec](ConstTensorView dy, Stream& stream) -> absl::Status {
        HETERO_RETURN_IF_ERROR(
            LinearBackwardWeight(dy, x_TK, gradient.view, gradient.accumulate, stream))
            .With(spec->name);
        return absl::OkStatus();
      });
}

namespace {

absl::Status Norm(ConstTensorView hidden_TH, const Parameter& weight_H, double epsilon,
                  const NormedHidden& out, Stream& stream) {
  HETERO_RETURN_IF_ERROR(RmsNormForward({.x_TC = hidden_TH,
                                         .weight_C = weight_H.value,
                                         .y_TC = out.normed_TH,
                                         .rstd_T = out.rstd_T,
                                         .epsilon = epsilon},
                                        stream))
      .With(weight_H.spec->name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NormedHidden> NormHidden(ModuleContext& context, ConstTensorView hidden_TH,
                                        const Parameter& weight_H, double epsilon) {
  NormedHidden result;
  HETERO_ASSIGN_OR_RETURN(result.normed_TH,
                          context.brief().Allocate(hidden_TH.dtype(), hidden_TH.dims()));
  HETERO_ASSIGN_OR_RETURN(result.rstd_T, context.activations.Allocate(
                                             ComputeDType(hidden_TH.dtype()), {hidden_TH.dim(0)}));
  HETERO_RETURN_IF_ERROR(Norm(hidden_TH, weight_H, epsilon, result, context.stream));
  return result;
}

absl::StatusOr<TensorView> NormHiddenAgain(ModuleContext& context, ConstTensorView hidden_TH,
                                           TensorView rstd_T, const Parameter& weight_H,
                                           double epsilon) {
  NormedHidden result = {.rstd_T = rstd_T};
  HETERO_ASSIGN_OR_RETURN(result.normed_TH,
                          context.recomputed().Allocate(hidden_TH.dtype(), hidden_TH.dims()));
  HETERO_RETURN_IF_ERROR(Norm(hidden_TH, weight_H, epsilon, result, context.stream));
  return result.normed_TH;
}

absl::Status NormHiddenBackward(ModuleContext& context, ConstTensorView d_normed_TH,
                                ConstTensorView hidden_TH, ConstTensorView rstd_T,
                                Parameter& weight_H, TensorView d_hidden_TH) {
  const WeightGradient gradient = WeightGradientOf(context, weight_H);
  HETERO_RETURN_IF_ERROR(RmsNormBackward({.dy_TC = d_normed_TH,
                                          .x_TC = hidden_TH,
                                          .weight_C = weight_H.value,
                                          .rstd_T = rstd_T,
                                          .dsum_TC = d_hidden_TH,
                                          .dx_TC = d_hidden_TH,
                                          .dweight_C = gradient.view,
                                          .accumulate = gradient.accumulate},
                                         context.stream))
      .With(weight_H.spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
