#include "hetero/models/blocks/moe/shared_expert.h"

#include <utility>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"

namespace hetero {

absl::StatusOr<SharedExpert::Gathered> SharedExpert::StartForward(ModuleContext& context,
                                                                  ConstTensorView x_TH,
                                                                  int64_t num_tokens) const {
  if (!present_) return Gathered();
  return sequence_.StartGather(x_TH, num_tokens, context.stream.workspace(), context.stream,
                               fc1_.weight().spec->name);
}

absl::Status SharedExpert::Activate(ModuleContext& context, Gathered x, Saved& saved) const {
  saved = {};
  if (!present_) return absl::OkStatus();
  const int64_t inner_NS[] = {x.all_TC.dim(0), fc1_.width()};
  HETERO_ASSIGN_OR_RETURN(saved.inner_NS, context.activations.Allocate(x.all_TC.dtype(), inner_NS));
  HETERO_ASSIGN_OR_RETURN(saved.activated_NS, context.brief().Allocate(x.all_TC.dtype(), inner_NS));
  HETERO_RETURN_IF_ERROR(sequence_.Join(std::move(x.mark), context.stream));
  if (alone_) {
    HETERO_RETURN_IF_ERROR(LinearSquaredRelu(x.all_TC, fc1_.weight().value, saved.inner_NS,
                                             saved.activated_NS, context.stream))
        .With(fc1_.weight().spec->name);
    return absl::OkStatus();
  }
  HETERO_RETURN_IF_ERROR(fc1_.Product(context, x.all_TC, saved.inner_NS));
  return SquaredReluForward(saved.inner_NS, {}, saved.activated_NS, context.stream);
}

absl::StatusOr<TensorView> SharedExpert::ActivateAgain(ModuleContext& context,
                                                       const Saved& saved) const {
  if (!present_) return TensorView();
  HETERO_ASSIGN_OR_RETURN(
      const TensorView activated_NS,
      context.recomputed().Allocate(saved.inner_NS.dtype(), saved.inner_NS.dims()));
  HETERO_RETURN_IF_ERROR(SquaredReluForward(saved.inner_NS, {}, activated_NS, context.stream));
  return activated_NS;
}

absl::Status SharedExpert::AddTo(ModuleContext& context, const Saved& saved,
                                 TensorView out_TH) const {
  return present_ ? fc2_.AddTo(context, saved.activated_NS, out_TH) : absl::OkStatus();
}

absl::StatusOr<SideStream::Mark> SharedExpert::StartProduct(ModuleContext& context,
                                                            const Saved& saved,
                                                            TensorView y_TH) const {
  if (!present_) return SideStream::Mark();
  return fc2_.StartProduct(context, saved.activated_NS, y_TH);
}

absl::StatusOr<ConstTensorView> SharedExpert::Residual(ModuleContext& context, const Saved& saved,
                                                       ConstTensorView residual_TH) const {
  if (!present_) return residual_TH;
  return fc2_.Forward(context, saved.activated_NS, residual_TH);
}

absl::StatusOr<SharedExpert::Gathered> SharedExpert::StartBackward(ModuleContext& context,
                                                                   const Saved& saved,
                                                                   ConstTensorView d_y_TH) const {
  if (!present_) return Gathered();
  return fc2_.StartBackward(context, d_y_TH, saved.inner_NS.dim(0), context.stream.workspace());
}

absl::StatusOr<SharedExpert::Gathered> SharedExpert::StartInput(ModuleContext& context,
                                                                const Saved& saved,
                                                                ConstTensorView x_TH) const {
  if (!present_) return Gathered();
  return fc1_.StartBackward(context, x_TH, saved.inner_NS.dim(0));
}

absl::StatusOr<TensorView> SharedExpert::ActivationBackward(ModuleContext& context,
                                                            const Saved& saved,
                                                            Gathered d_y) const {
  if (!present_) return TensorView();
  if (alone_) {
    return fc2_.FinishBackwardOfSquaredRelu(context, std::move(d_y), saved.activated_NS,
                                            saved.inner_NS);
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_NS,
                          fc2_.FinishBackward(context, std::move(d_y), saved.activated_NS));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_NS, .f_TF = saved.inner_NS, .df_TF = d_inner_NS}, context.stream));
  return d_inner_NS;
}

absl::StatusOr<ConstTensorView> SharedExpert::FinishBackward(ModuleContext& context,
                                                             ConstTensorView d_inner_NS, Gathered x,
                                                             TensorView d_x_TH) const {
  if (!present_) return ConstTensorView();
  HETERO_RETURN_IF_ERROR(fc1_.FinishBackwardTo(context, d_inner_NS, std::move(x), d_x_TH));
  return d_x_TH;
}

}  // namespace hetero
