#include "hetero/models/blocks/parallel_linear.h"

#include <string>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"

namespace hetero {
namespace {

// Where what a queued product of the backward pass reads stays until then.
Arena& KeptForProducts(ModuleContext& context) {
  return context.weight_gradients != nullptr ? context.activations : context.stream.workspace();
}

ConstTensorView ValueOrNull(const Parameter* parameter) {
  return parameter == nullptr ? ConstTensorView() : ConstTensorView(parameter->value);
}

absl::Status AddBiasGradient(ModuleContext& context, ConstTensorView dy, Parameter* bias) {
  if (bias == nullptr) return absl::OkStatus();
  const WeightGradient gradient = WeightGradientOf(context, *bias);
  if (!gradient.wanted()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(BiasBackward(dy, gradient.view, gradient.accumulate, context.stream))
      .With(bias->spec->name);
  return absl::OkStatus();
}

}  // namespace

ParameterSpec BiasOf(std::string name, int64_t width, const DimSharding& dim, DType storage) {
  return {.name = std::move(name),
          .shape = {width},
          .storage = storage,
          .init = Init::Constant(0),
          .dims = {dim},
          .partial_over_tp = dim.axis == ShardAxis::kNone,
          .decay = false};
}

absl::Status ColumnLinear::Forward(ModuleContext& context, ConstTensorView x_RH,
                                   TensorView y_TN) const {
  Stream& stream = context.stream;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView x_TH,
      sequence_.Gather(x_RH, y_TN.dim(0), stream.workspace(), stream, weight_NH_->spec->name));
  return Product(context, x_TH, y_TN);
}

absl::Status ColumnLinear::Product(ModuleContext& context, ConstTensorView x_TH,
                                   TensorView y_TN) const {
  HETERO_RETURN_IF_ERROR(
      LinearForward(x_TH, weight_NH_->value, ValueOrNull(bias_N_), y_TN, context.stream))
      .With(weight_NH_->spec->name);
  return absl::OkStatus();
}

absl::StatusOr<TensorView> ColumnLinear::Backward(ModuleContext& context, ConstTensorView d_y_TN,
                                                  ConstTensorView x_RH) const {
  HETERO_ASSIGN_OR_RETURN(const TensorView d_x_RH,
                          context.stream.workspace().Allocate(x_RH.dtype(), x_RH.dims()));
  HETERO_RETURN_IF_ERROR(BackwardTo(context, d_y_TN, x_RH, d_x_RH));
  return d_x_RH;
}

absl::Status ColumnLinear::BackwardTo(ModuleContext& context, ConstTensorView d_y_TN,
                                      ConstTensorView x_RH, TensorView d_x_RH) const {
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered x,
                          StartBackward(context, x_RH, d_y_TN.dim(0)));
  return FinishBackwardTo(context, d_y_TN, std::move(x), d_x_RH);
}

absl::StatusOr<SequenceParallel::Gathered> ColumnLinear::StartBackward(ModuleContext& context,
                                                                       ConstTensorView x_RH,
                                                                       int64_t num_tokens) const {
  if (!WantsGradient(context, *weight_NH_)) return SequenceParallel::Gathered();
  return sequence_.StartGather(x_RH, num_tokens, KeptForProducts(context), context.stream,
                               weight_NH_->spec->name);
}

absl::StatusOr<TensorView> ColumnLinear::FinishBackward(ModuleContext& context,
                                                        ConstTensorView d_y_TN,
                                                        SequenceParallel::Gathered x) const {
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_x_RH,
      context.stream.workspace().Allocate(
          d_y_TN.dtype(), {sequence_.Shard(d_y_TN.dim(0)).rows(), weight_NH_->value.dim(1)}));
  HETERO_RETURN_IF_ERROR(FinishBackwardTo(context, d_y_TN, std::move(x), d_x_RH));
  return d_x_RH;
}

absl::Status ColumnLinear::FinishBackwardTo(ModuleContext& context, ConstTensorView d_y_TN,
                                            SequenceParallel::Gathered x, TensorView d_x_RH) const {
  Stream& stream = context.stream;
  HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_y_TN, bias_N_));
  ArenaScope scope(stream.workspace());
  SideStream::Mark summed;
  if (!d_x_RH.is_null()) {
    HETERO_ASSIGN_OR_RETURN(summed, StartBackwardInput(context, d_y_TN, d_x_RH));
  }
  if (!x.all_TC.is_null()) {
    HETERO_RETURN_IF_ERROR(sequence_.Join(std::move(x.mark), stream));
    HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_y_TN, x.all_TC, *weight_NH_));
  }
  return sequence_.Join(std::move(summed), stream);
}

absl::StatusOr<SideStream::Mark> ColumnLinear::StartBackwardInput(ModuleContext& context,
                                                                  ConstTensorView d_y_TN,
                                                                  TensorView d_x_RH) const {
  Stream& stream = context.stream;
  const std::string& name = weight_NH_->spec->name;
  TensorView d_part_TH = d_x_RH;
  if (!sequence_.alone()) {
    HETERO_ASSIGN_OR_RETURN(d_part_TH,
                            sequence_.AllocatePart(d_x_RH.dtype(), d_y_TN.dim(0), d_x_RH.dim(1),
                                                   stream.workspace(), stream));
  }
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_y_TN, weight_NH_->value, d_part_TH,
                                             /*accumulate=*/false, stream))
      .With(name);
  return sequence_.StartReduceScatter(d_part_TH, d_x_RH, stream, name);
}

absl::StatusOr<TensorView> RowLinear::Forward(ModuleContext& context, ConstTensorView x_TK,
                                              ConstTensorView residual_RH) const {
  Stream& stream = context.stream;
  HETERO_ASSIGN_OR_RETURN(const TensorView out_RH,
                          context.AllocateResult(residual_RH.dtype(), residual_RH.dims()));
  if (sequence_.alone()) {
    HETERO_RETURN_IF_ERROR(AddProduct(stream, x_TK, residual_RH, out_RH));
    return out_RH;
  }
  HETERO_RETURN_IF_ERROR(Product(context, x_TK, out_RH));
  HETERO_RETURN_IF_ERROR(Add(out_RH, residual_RH, out_RH, stream));
  return out_RH;
}

absl::Status RowLinear::AddProduct(Stream& stream, ConstTensorView x_TK, ConstTensorView to_TH,
                                   TensorView out_TH) const {
  HETERO_RETURN_IF_ERROR(Gemm({.a = x_TK,
                               .b = weight_HK_->value,
                               .c = out_TH,
                               .bias = ValueOrNull(bias_H_),
                               .added = to_TH,
                               .transpose_b = true,
                               .beta = 1,
                               .name = "linear.forward"},
                              stream))
      .With(weight_HK_->spec->name);
  return absl::OkStatus();
}

absl::Status RowLinear::AddTo(ModuleContext& context, ConstTensorView x_TK,
                              TensorView out_RH) const {
  Stream& stream = context.stream;
  if (sequence_.alone()) return AddProduct(stream, x_TK, out_RH, out_RH);
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView product_RH,
                          stream.workspace().Allocate(out_RH.dtype(), out_RH.dims()));
  HETERO_RETURN_IF_ERROR(Product(context, x_TK, product_RH));
  return Add(out_RH, product_RH, out_RH, stream);
}

absl::Status RowLinear::Product(ModuleContext& context, ConstTensorView x_TK,
                                TensorView out_RH) const {
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView part_TH, ProductPart(context, x_TK, out_RH));
  return sequence_.ReduceScatter(part_TH, out_RH, context.stream, weight_HK_->spec->name);
}

absl::StatusOr<SideStream::Mark> RowLinear::StartProduct(ModuleContext& context,
                                                         ConstTensorView x_TK,
                                                         TensorView out_RH) const {
  HETERO_ASSIGN_OR_RETURN(const TensorView part_TH, ProductPart(context, x_TK, out_RH));
  return sequence_.StartReduceScatter(part_TH, out_RH, context.stream, weight_HK_->spec->name);
}

absl::StatusOr<TensorView> RowLinear::ProductPart(ModuleContext& context, ConstTensorView x_TK,
                                                  TensorView out_RH) const {
  Stream& stream = context.stream;
  TensorView part_TH = out_RH;
  if (!sequence_.alone()) {
    HETERO_ASSIGN_OR_RETURN(part_TH,
                            sequence_.AllocatePart(out_RH.dtype(), x_TK.dim(0), out_RH.dim(1),
                                                   stream.workspace(), stream));
  }
  HETERO_RETURN_IF_ERROR(
      LinearForward(x_TK, weight_HK_->value,
                    sequence_.rank() == 0 ? ValueOrNull(bias_H_) : ConstTensorView(), part_TH,
                    stream))
      .With(weight_HK_->spec->name);
  return part_TH;
}

absl::StatusOr<TensorView> RowLinear::Backward(ModuleContext& context, ConstTensorView d_out_RH,
                                               ConstTensorView x_TK) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_out_RH, bias_H_));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_x_TK, workspace.Allocate(x_TK.dtype(), x_TK.dims()));
  ArenaScope scope(workspace);
  // A queued product keeps a copy of its gradient.
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView d_out_TH,
      sequence_.Gather(d_out_RH, x_TK.dim(0), workspace, stream, weight_HK_->spec->name));
  HETERO_RETURN_IF_ERROR(BackwardProducts(context, d_out_TH, x_TK, d_x_TK));
  return d_x_TK;
}

absl::StatusOr<SequenceParallel::Gathered> RowLinear::StartBackward(ModuleContext& context,
                                                                    ConstTensorView d_out_RH,
                                                                    int64_t num_tokens,
                                                                    Arena& arena) const {
  HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_out_RH, bias_H_));
  return sequence_.StartGather(d_out_RH, num_tokens, arena, context.stream, weight_HK_->spec->name);
}

absl::StatusOr<TensorView> RowLinear::FinishBackward(ModuleContext& context,
                                                     SequenceParallel::Gathered d_out,
                                                     ConstTensorView x_TK) const {
  HETERO_ASSIGN_OR_RETURN(const TensorView d_x_TK,
                          context.stream.workspace().Allocate(x_TK.dtype(), x_TK.dims()));
  HETERO_RETURN_IF_ERROR(sequence_.Join(std::move(d_out.mark), context.stream));
  HETERO_RETURN_IF_ERROR(BackwardProducts(context, d_out.all_TC, x_TK, d_x_TK));
  return d_x_TK;
}

absl::StatusOr<TensorView> RowLinear::FinishBackwardOfSquaredRelu(ModuleContext& context,
                                                                  SequenceParallel::Gathered d_out,
                                                                  ConstTensorView x_TK,
                                                                  ConstTensorView f_TK) const {
  Stream& stream = context.stream;
  HETERO_ASSIGN_OR_RETURN(const TensorView d_f_TK,
                          stream.workspace().Allocate(f_TK.dtype(), f_TK.dims()));
  HETERO_RETURN_IF_ERROR(sequence_.Join(std::move(d_out.mark), stream));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_out.all_TC, x_TK, *weight_HK_));
  HETERO_RETURN_IF_ERROR(
      LinearSquaredReluBackward(d_out.all_TC, weight_HK_->value, f_TK, d_f_TK, stream))
      .With(weight_HK_->spec->name);
  return d_f_TK;
}

absl::Status RowLinear::BackwardProducts(ModuleContext& context, ConstTensorView d_out_TH,
                                         ConstTensorView x_TK, TensorView d_x_TK) const {
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_out_TH, x_TK, *weight_HK_));
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_out_TH, weight_HK_->value, d_x_TK,
                                             /*accumulate=*/false, context.stream))
      .With(weight_HK_->spec->name);
  return absl::OkStatus();
}

}  // namespace hetero
