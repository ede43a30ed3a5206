#include "hetero/models/blocks/moe/experts.h"

#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"

namespace hetero {
namespace {

// dw_e += dyᵀ x, now or, with a copy of dy, when the context's queue runs.
absl::Status AddExpertGradient(ModuleContext& context, ConstTensorView dy, ConstTensorView x,
                               ConstTensorView offsets_E1, const WeightGradient& gradient,
                               const Parameter& weight, int64_t kept_rows) {
  if (!gradient.wanted()) return absl::OkStatus();
  const auto product = [x, offsets_E1, gradient, spec = weight.spec](
                           ConstTensorView of_output, Stream& stream) -> absl::Status {
    HETERO_RETURN_IF_ERROR(ExpertLinearBackwardWeight(of_output, x, offsets_E1, gradient.view,
                                                      gradient.accumulate, stream))
        .With(spec->name);
    return absl::OkStatus();
  };
  if (context.weight_gradients == nullptr) return product(dy, context.stream);
  HETERO_ASSIGN_OR_RETURN(const TensorView room,
                          context.activations.Allocate(dy.dtype(), {kept_rows, dy.dim(1)}));
  const TensorView kept = room.Rows(0, dy.dim(0));
  HETERO_RETURN_IF_ERROR(Copy(dy, kept, context.stream));
  context.weight_gradients->Add([kept, product](Stream& stream) { return product(kept, stream); });
  return absl::OkStatus();
}

}  // namespace

ExpertRows ExpertRows::First(int64_t rows) const {
  return {.offsets_E1 = offsets_E1,
          .probs_R = probs_R.Rows(0, rows),
          .inputs_RH = inputs_RH.Rows(0, rows),
          .inner_RF = inner_RF.Rows(0, rows),
          .activated_RF = activated_RF.Rows(0, rows)};
}

ExpertGradients ExpertGradients::Accumulating() const {
  ExpertGradients result = *this;
  result.fc1.accumulate = result.fc2.accumulate = true;
  return result;
}

absl::StatusOr<ExpertRows> Experts::Allocate(ModuleContext& context, Arena& inputs,
                                             int64_t rows) const {
  const DType dtype = fc1_EFH_->value.dtype();
  Arena& arena = context.activations;
  ExpertRows result;
  HETERO_ASSIGN_OR_RETURN(result.offsets_E1, arena.Allocate(DType::kI32, {count() + 1}));
  HETERO_ASSIGN_OR_RETURN(result.probs_R, arena.Allocate(ComputeDType(dtype), {rows}));
  HETERO_ASSIGN_OR_RETURN(result.inputs_RH, inputs.Allocate(dtype, {rows, fc1_EFH_->value.dim(2)}));
  HETERO_ASSIGN_OR_RETURN(result.inner_RF, arena.Allocate(dtype, {rows, width()}));
  HETERO_ASSIGN_OR_RETURN(result.activated_RF, context.brief().Allocate(dtype, {rows, width()}));
  return result;
}

absl::Status Experts::Activate(const ExpertRows& rows, Stream& stream) const {
  HETERO_RETURN_IF_ERROR(ExpertLinearSquaredRelu(rows.inputs_RH, fc1_EFH_->value, rows.offsets_E1,
                                                 rows.probs_R, rows.inner_RF, rows.activated_RF,
                                                 stream))
      .With(fc1_EFH_->spec->name);
  return absl::OkStatus();
}

absl::Status Experts::ActivateAgain(const ExpertRows& rows, Stream& stream) {
  return SquaredReluForward(rows.inner_RF, rows.probs_R, rows.activated_RF, stream);
}

absl::Status Experts::Forward(const ExpertRows& rows, TensorView y_RH, Stream& stream) const {
  HETERO_RETURN_IF_ERROR(Activate(rows, stream));
  HETERO_RETURN_IF_ERROR(
      ExpertLinearForward(rows.activated_RF, fc2_EHF_->value, rows.offsets_E1, y_RH, stream))
      .With(fc2_EHF_->spec->name);
  return absl::OkStatus();
}

ExpertGradients Experts::GradientsOf(const ModuleContext& context) const {
  return {.fc1 = WeightGradientOf(context, *fc1_EFH_), .fc2 = WeightGradientOf(context, *fc2_EHF_)};
}

absl::Status Experts::Backward(ModuleContext& context, const ExpertRows& rows,
                               const ExpertGradients& gradients, int64_t kept_rows,
                               TensorView d_rows_RH, TensorView d_inner_RF,
                               TensorView d_probs_R) const {
  Stream& stream = context.stream;
  {
    // As much as a round can have: the rows of this one are not known before they come.
    ArenaScope scope(stream.workspace());
    HETERO_ASSIGN_OR_RETURN(const TensorView scratch,
                            AllocateExpertScratch(width(), kept_rows, stream));
    HETERO_RETURN_IF_ERROR(
        ExpertLinearSquaredReluBackward(d_rows_RH, fc2_EHF_->value, rows.offsets_E1, rows.inner_RF,
                                        rows.probs_R, d_inner_RF, d_probs_R, scratch, stream))
        .With(fc2_EHF_->spec->name);
  }
  HETERO_RETURN_IF_ERROR(AddExpertGradient(context, d_rows_RH, rows.activated_RF, rows.offsets_E1,
                                           gradients.fc2, *fc2_EHF_, kept_rows));
  HETERO_RETURN_IF_ERROR(
      ExpertLinearBackwardInput(d_inner_RF, fc1_EFH_->value, rows.offsets_E1, d_rows_RH, stream))
      .With(fc1_EFH_->spec->name);
  return AddExpertGradient(context, d_inner_RF, rows.inputs_RH, rows.offsets_E1, gradients.fc1,
                           *fc1_EFH_, kept_rows);
}

}  // namespace hetero
