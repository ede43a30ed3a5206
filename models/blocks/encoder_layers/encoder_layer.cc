#include "hetero/models/blocks/encoder_layers/encoder_layer.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/layer_scale/layer_scale.h"

namespace hetero {
namespace {

constexpr std::string_view kQkv = "self_attention.linear_qkv.";
constexpr std::string_view kOut = "self_attention.linear_proj.";
constexpr std::string_view kFc1 = "mlp.linear_fc1.";
constexpr std::string_view kFc2 = "mlp.linear_fc2.";
constexpr std::string_view kScale1 = "ls1";
constexpr std::string_view kScale2 = "ls2";

AttentionShape ShapeOf(int64_t num_heads, int64_t head_dim, std::span<const int32_t> segments) {
  return {.num_groups = num_heads,
          .heads_per_group = 1,
          .head_size = head_dim,
          .segments = segments,
          .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
}

// Adds the gradient of a branch's scale and returns that of the branch, in the workspace; that of
// the stream where it has no scale.
absl::StatusOr<ConstTensorView> BranchGradient(ModuleContext& context, ConstTensorView dy_RC,
                                               ConstTensorView branch_RC, Parameter* scale_C) {
  if (scale_C == nullptr) return dy_RC;
  HETERO_ASSIGN_OR_RETURN(const TensorView d_branch_RC,
                          context.stream.workspace().Allocate(dy_RC.dtype(), dy_RC.dims()));
  const WeightGradient d_scale = WeightGradientOf(context, *scale_C);
  HETERO_RETURN_IF_ERROR(LayerScaleBackward({.dy_TC = dy_RC,
                                             .x_TC = branch_RC,
                                             .scale_C = scale_C->value,
                                             .dx_TC = d_branch_RC,
                                             .dscale_C = d_scale.view,
                                             .accumulate = d_scale.accumulate},
                                            context.stream))
      .With(scale_C->spec->name);
  return d_branch_RC;
}

}  // namespace

std::vector<ParameterSpec> EncoderLayer::Parameters(const EncoderLayerConfig& config,
                                                    std::string_view prefix) {
  const int64_t c = config.hidden_size, k = config.attention_width(), f = config.ffn_size;
  const DimSharding whole, by_width{.axis = ShardAxis::kTp};
  const int64_t d = config.swiglu ? 2 * f : f;
  const DimSharding by_inner =
      config.swiglu ? DimSharding{.axis = ShardAxis::kTp, .blocks = {{f}, {f}}} : by_width;
  const DimSharding by_head{.axis = ShardAxis::kTp, .units = config.num_heads};
  std::vector<ParameterSpec> specs;
  // A rank's gradient of what all of them have is that of its own rows.
  const auto vector = [&](std::string_view layer, std::string_view name, int64_t size, double value,
                          const DimSharding& dim) {
    specs.push_back({.name = absl::StrCat(prefix, layer, name),
                     .shape = {size},
                     .storage = config.storage,
                     .init = Init::Constant(value),
                     .dims = {dim},
                     .partial_over_tp = dim.axis == ShardAxis::kNone,
                     .decay = false});
  };
  const auto matrix = [&](std::string_view layer, int64_t rows, int64_t columns, double std,
                          const DimSharding& row_dim, const DimSharding& column_dim) {
    specs.push_back({.name = absl::StrCat(prefix, layer, "weight"),
                     .shape = {rows, columns},
                     .storage = config.storage,
                     .init = Init::Normal(std),
                     .dims = {row_dim, column_dim}});
  };
  vector(kQkv, "layer_norm_weight", c, 1, whole);
  vector(kQkv, "layer_norm_bias", c, 0, whole);
  matrix(kQkv, 3 * k, c, config.init_std, by_head, whole);
  if (config.qkv_bias) vector(kQkv, "bias", 3 * k, 0, by_head);
  matrix(kOut, c, k, config.output_init_std, whole, by_head);
  vector(kOut, "bias", c, 0, whole);
  vector(kFc1, "layer_norm_weight", c, 1, whole);
  vector(kFc1, "layer_norm_bias", c, 0, whole);
  matrix(kFc1, d, c, config.init_std, by_inner, whole);
  vector(kFc1, "bias", d, 0, by_inner);
  matrix(kFc2, c, f, config.output_init_std, whole, by_width);
  vector(kFc2, "bias", c, 0, whole);
  if (config.layer_scale_init != 0) {
    vector(kScale1, "", c, config.layer_scale_init, whole);
    vector(kScale2, "", c, config.layer_scale_init, whole);
  }
  return specs;
}

absl::StatusOr<EncoderLayer> EncoderLayer::Create(const EncoderLayerConfig& config,
                                                  std::string_view prefix,
                                                  ParameterStore& parameters,
                                                  SequenceParallel sequence) {
  HETERO_RETURN_IF_ERROR(sequence.CheckDivides("num_heads", config.num_heads)).With(prefix);
  HETERO_RETURN_IF_ERROR(sequence.CheckDivides("ffn_size", config.ffn_size)).With(prefix);
  const auto find = [&](std::string_view part, std::string_view name) {
    return parameters.Find(absl::StrCat(prefix, part, name));
  };
  EncoderLayer layer;
  layer.config_ = config;
  HETERO_ASSIGN_OR_RETURN(layer.norm1_.weight_C, find(kQkv, "layer_norm_weight"));
  HETERO_ASSIGN_OR_RETURN(layer.norm1_.bias_C, find(kQkv, "layer_norm_bias"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w_qkv_NC, find(kQkv, "weight"));
  Parameter* b_qkv_N = nullptr;
  if (config.qkv_bias) {
    HETERO_ASSIGN_OR_RETURN(b_qkv_N, find(kQkv, "bias"));
  }
  HETERO_ASSIGN_OR_RETURN(Parameter* const w_out_CK, find(kOut, "weight"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const b_out_C, find(kOut, "bias"));
  HETERO_ASSIGN_OR_RETURN(layer.norm2_.weight_C, find(kFc1, "layer_norm_weight"));
  HETERO_ASSIGN_OR_RETURN(layer.norm2_.bias_C, find(kFc1, "layer_norm_bias"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w1_DC, find(kFc1, "weight"));
  HETERO_ASSIGN_OR_RETURN(layer.b1_D_, find(kFc1, "bias"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const w2_CF, find(kFc2, "weight"));
  HETERO_ASSIGN_OR_RETURN(Parameter* const b2_C, find(kFc2, "bias"));
  if (config.layer_scale_init != 0) {
    HETERO_ASSIGN_OR_RETURN(layer.scale1_C_, find(kScale1, ""));
    HETERO_ASSIGN_OR_RETURN(layer.scale2_C_, find(kScale2, ""));
  }
  layer.num_heads_ = w_qkv_NC->value.dim(0) / (3 * config.head_dim);
  layer.qkv_ = ColumnLinear(sequence, w_qkv_NC, b_qkv_N);
  layer.out_ = RowLinear(sequence, w_out_CK, b_out_C);
  layer.fc1_ = ColumnLinear(sequence, w1_DC);
  layer.fc2_ = RowLinear(sequence, w2_CF, b2_C);
  return layer;
}

absl::StatusOr<TensorView> EncoderLayer::Forward(ModuleContext& context, ConstTensorView hidden_RC,
                                                 std::span<const int32_t> segments,
                                                 Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const DType dtype = hidden_RC.dtype();
  const int64_t tokens = segments.back();
  ArenaScope scope(stream.workspace());
  saved.segments = segments;

  HETERO_ASSIGN_OR_RETURN(saved.normed1_RC, ApplyLayerNorm(context, hidden_RC, norm1_,
                                                           config_.norm_epsilon, saved.norm1));
  HETERO_ASSIGN_OR_RETURN(saved.qkv_SN, arena.Allocate(dtype, {tokens, qkv_.width()}));
  HETERO_RETURN_IF_ERROR(qkv_.Forward(context, saved.normed1_RC, saved.qkv_SN));
  HETERO_ASSIGN_OR_RETURN(saved.attention_SK,
                          arena.Allocate(dtype, {tokens, num_heads_ * config_.head_dim}));
  HETERO_ASSIGN_OR_RETURN(saved.lse, arena.Allocate(ComputeDType(dtype), {num_heads_, tokens}));
  HETERO_RETURN_IF_ERROR(AttentionForward({.shape = ShapeOf(num_heads_, config_.head_dim, segments),
                                           .qkv = saved.qkv_SN,
                                           .o = saved.attention_SK,
                                           .lse_HT = saved.lse},
                                          stream));
  HETERO_ASSIGN_OR_RETURN(TensorView middle_RC, arena.Allocate(dtype, hidden_RC.dims()));
  HETERO_RETURN_IF_ERROR(out_.Product(context, saved.attention_SK, middle_RC));
  if (scale1_C_ == nullptr) {
    HETERO_ASSIGN_OR_RETURN(saved.normed2_RC, ApplyLayerNorm(context, middle_RC, hidden_RC, norm2_,
                                                             config_.norm_epsilon, saved.norm2));
  } else {
    saved.branch1_RC = middle_RC;
    HETERO_ASSIGN_OR_RETURN(middle_RC, arena.Allocate(dtype, hidden_RC.dims()));
    HETERO_RETURN_IF_ERROR(LayerScaleForward({.x_TC = saved.branch1_RC,
                                              .residual_TC = hidden_RC,
                                              .scale_C = scale1_C_->value,
                                              .y_TC = middle_RC},
                                             stream));
    HETERO_ASSIGN_OR_RETURN(saved.normed2_RC,
                            ApplyLayerNorm(context, ConstTensorView(middle_RC), norm2_,
                                           config_.norm_epsilon, saved.norm2));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView out_RC, MlpForward(context, middle_RC, saved));
  if (context.selective_recompute) {
    saved.normed1_RC = saved.normed2_RC = saved.activated_SF = {};
  }
  return out_RC;
}

absl::StatusOr<TensorView> EncoderLayer::MlpForward(ModuleContext& context, TensorView middle_RC,
                                                    Saved& saved) const {
  Stream& stream = context.stream;
  const DType dtype = middle_RC.dtype();
  const int64_t inner_SD[] = {saved.qkv_SN.dim(0), fc1_.width()};
  HETERO_ASSIGN_OR_RETURN(saved.inner_SD, context.activations.Allocate(dtype, inner_SD));
  HETERO_ASSIGN_OR_RETURN(saved.activated_SF,
                          context.brief().Allocate(dtype, ActivatedDims(saved.inner_SD)));
  HETERO_RETURN_IF_ERROR(fc1_.Forward(context, saved.normed2_RC, saved.inner_SD));
  HETERO_RETURN_IF_ERROR(Activate(saved, stream));
  if (scale2_C_ == nullptr) return fc2_.Forward(context, saved.activated_SF, middle_RC);
  HETERO_ASSIGN_OR_RETURN(saved.branch2_RC, context.activations.Allocate(dtype, middle_RC.dims()));
  HETERO_RETURN_IF_ERROR(fc2_.Product(context, saved.activated_SF, saved.branch2_RC));
  HETERO_ASSIGN_OR_RETURN(const TensorView out_RC, context.AllocateResult(dtype, middle_RC.dims()));
  HETERO_RETURN_IF_ERROR(LayerScaleForward({.x_TC = saved.branch2_RC,
                                            .residual_TC = middle_RC,
                                            .scale_C = scale2_C_->value,
                                            .y_TC = out_RC},
                                           stream));
  return out_RC;
}

absl::Status EncoderLayer::Activate(const Saved& saved, Stream& stream) const {
  HETERO_RETURN_IF_ERROR(
      config_.swiglu
          ? SwiGluForward(saved.inner_SD, b1_D_->value, saved.activated_SF, stream)
          : GeluForward(config_.gelu, saved.inner_SD, b1_D_->value, saved.activated_SF, stream))
      .With(b1_D_->spec->name);
  return absl::OkStatus();
}

std::array<int64_t, 2> EncoderLayer::ActivatedDims(const TensorView& inner_SD) const {
  return {inner_SD.dim(0), config_.swiglu ? inner_SD.dim(1) / 2 : inner_SD.dim(1)};
}

absl::StatusOr<EncoderLayer::Saved> EncoderLayer::Complete(ModuleContext& context,
                                                           const Saved& kept) const {
  Saved saved = kept;
  if (!kept.normed1_RC.is_null()) return saved;
  HETERO_ASSIGN_OR_RETURN(saved.normed1_RC,
                          LayerNormAgain(context, kept.norm1, norm1_, config_.norm_epsilon));
  HETERO_ASSIGN_OR_RETURN(saved.normed2_RC,
                          LayerNormAgain(context, kept.norm2, norm2_, config_.norm_epsilon));
  HETERO_ASSIGN_OR_RETURN(
      saved.activated_SF,
      context.recomputed().Allocate(kept.inner_SD.dtype(), ActivatedDims(kept.inner_SD)));
  HETERO_RETURN_IF_ERROR(Activate(saved, context.stream));
  return saved;
}

absl::StatusOr<TensorView> EncoderLayer::ActivationBackward(ModuleContext& context,
                                                            const Saved& saved,
                                                            TensorView d_activated_SF) const {
  const WeightGradient d_bias = WeightGradientOf(context, *b1_D_);
  if (!config_.swiglu) {
    HETERO_RETURN_IF_ERROR(GeluBackward({.form = config_.gelu,
                                         .da_TF = d_activated_SF,
                                         .f_TF = saved.inner_SD,
                                         .bias_F = b1_D_->value,
                                         .df_TF = d_activated_SF,
                                         .dbias_F = d_bias.view,
                                         .accumulate = d_bias.accumulate},
                                        context.stream))
        .With(b1_D_->spec->name);
    return d_activated_SF;
  }
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_inner_SD,
      context.stream.workspace().Allocate(saved.inner_SD.dtype(), saved.inner_SD.dims()));
  HETERO_RETURN_IF_ERROR(SwiGluBackward({.da_TF = d_activated_SF,
                                         .f_TD = saved.inner_SD,
                                         .bias_D = b1_D_->value,
                                         .df_TD = d_inner_SD,
                                         .dbias_D = d_bias.view,
                                         .accumulate = d_bias.accumulate},
                                        context.stream))
      .With(b1_D_->spec->name);
  return d_inner_SD;
}

absl::Status EncoderLayer::Backward(ModuleContext& context, const Saved& kept,
                                    TensorView d_hidden_RC) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const Saved saved, Complete(context, kept));
  {
    ArenaScope mlp_scope(workspace);
    HETERO_ASSIGN_OR_RETURN(const ConstTensorView d_branch_RC,
                            BranchGradient(context, d_hidden_RC, saved.branch2_RC, scale2_C_));
    HETERO_ASSIGN_OR_RETURN(const TensorView d_activated_SF,
                            fc2_.Backward(context, d_branch_RC, saved.activated_SF));
    HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered normed2,
                            fc1_.StartBackward(context, saved.normed2_RC, d_activated_SF.dim(0)));
    HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_SD,
                            ActivationBackward(context, saved, d_activated_SF));
    HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_RC,
                            fc1_.FinishBackward(context, d_inner_SD, std::move(normed2)));
    HETERO_RETURN_IF_ERROR(
        LayerNormGradient(context, saved.norm2, d_normed_RC, d_hidden_RC, d_hidden_RC, norm2_));
  }
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView d_branch_RC,
                          BranchGradient(context, d_hidden_RC, saved.branch1_RC, scale1_C_));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_attention_SK,
                          out_.Backward(context, d_branch_RC, saved.attention_SK));
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered normed1,
                          qkv_.StartBackward(context, saved.normed1_RC, saved.qkv_SN.dim(0)));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_qkv_SN,
                          workspace.Allocate(saved.qkv_SN.dtype(), saved.qkv_SN.dims()));
  HETERO_RETURN_IF_ERROR(
      AttentionBackward({.shape = ShapeOf(num_heads_, config_.head_dim, saved.segments),
                         .qkv = saved.qkv_SN,
                         .o = saved.attention_SK,
                         .lse_HT = saved.lse,
                         .d_o = d_attention_SK,
                         .d_qkv = d_qkv_SN},
                        stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_RC,
                          qkv_.FinishBackward(context, d_qkv_SN, std::move(normed1)));
  return LayerNormGradient(context, saved.norm1, d_normed_RC, d_hidden_RC, d_hidden_RC, norm1_);
}

}  // namespace hetero
