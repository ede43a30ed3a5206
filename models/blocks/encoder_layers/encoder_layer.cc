#include "hetero/models/blocks/encoder_layers/encoder_layer.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"

namespace hetero {
namespace {

constexpr std::string_view kQkv = "self_attention.linear_qkv.";
constexpr std::string_view kOut = "self_attention.linear_proj.";
constexpr std::string_view kFc1 = "mlp.linear_fc1.";
constexpr std::string_view kFc2 = "mlp.linear_fc2.";

absl::Status AddBiasGradient(ModuleContext& context, ConstTensorView dy_SN, Parameter& bias_N) {
  const WeightGradient gradient = WeightGradientOf(context, bias_N);
  if (!gradient.wanted()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(BiasBackward(dy_SN, gradient.view, gradient.accumulate, context.stream))
      .With(bias_N.spec->name);
  return absl::OkStatus();
}

}  // namespace

std::vector<ParameterSpec> EncoderLayer::Parameters(const EncoderLayerConfig& config,
                                                    std::string_view prefix) {
  const int64_t c = config.hidden_size, k = config.attention_width(), f = config.ffn_size;
  std::vector<ParameterSpec> specs;
  const auto vector = [&](std::string_view layer, std::string_view name, int64_t size, double value,
                          ShardAxis axis) {
    specs.push_back({.name = absl::StrCat(prefix, layer, name),
                     .shape = {size},
                     .storage = config.storage,
                     .init = Init::Constant(value),
                     .dims = {{axis, {}}},
                     .decay = false});
  };
  const auto matrix = [&](std::string_view layer, int64_t rows, int64_t columns, double std,
                          ShardAxis row_axis, ShardAxis column_axis) {
    specs.push_back({.name = absl::StrCat(prefix, layer, "weight"),
                     .shape = {rows, columns},
                     .storage = config.storage,
                     .init = Init::Normal(std),
                     .dims = {{row_axis, {}}, {column_axis, {}}}});
  };
  vector(kQkv, "layer_norm_weight", c, 1, ShardAxis::kNone);
  vector(kQkv, "layer_norm_bias", c, 0, ShardAxis::kNone);
  matrix(kQkv, 3 * k, c, config.init_std, ShardAxis::kTp, ShardAxis::kNone);
  vector(kQkv, "bias", 3 * k, 0, ShardAxis::kTp);
  matrix(kOut, c, k, config.output_init_std, ShardAxis::kNone, ShardAxis::kTp);
  vector(kOut, "bias", c, 0, ShardAxis::kNone);
  vector(kFc1, "layer_norm_weight", c, 1, ShardAxis::kNone);
  vector(kFc1, "layer_norm_bias", c, 0, ShardAxis::kNone);
  matrix(kFc1, f, c, config.init_std, ShardAxis::kTp, ShardAxis::kNone);
  vector(kFc1, "bias", f, 0, ShardAxis::kTp);
  matrix(kFc2, c, f, config.output_init_std, ShardAxis::kNone, ShardAxis::kTp);
  vector(kFc2, "bias", c, 0, ShardAxis::kNone);
  return specs;
}

absl::StatusOr<EncoderLayer> EncoderLayer::Create(const EncoderLayerConfig& config,
                                                  std::string_view prefix,
                                                  ParameterStore& parameters,
                                                  Communicator* tensor_parallel) {
  if (tensor_parallel != nullptr) {
    return absl::UnimplementedError(
        "an encoder layer runs on one tensor-parallel rank; set the encoder's tp to 1");
  }
  EncoderLayer layer;
  layer.config_ = config;
  const auto find = [&](std::string_view part, std::string_view name) {
    return parameters.Find(absl::StrCat(prefix, part, name));
  };
  HETERO_ASSIGN_OR_RETURN(layer.norm1_.weight_C, find(kQkv, "layer_norm_weight"));
  HETERO_ASSIGN_OR_RETURN(layer.norm1_.bias_C, find(kQkv, "layer_norm_bias"));
  HETERO_ASSIGN_OR_RETURN(layer.w_qkv_NC_, find(kQkv, "weight"));
  HETERO_ASSIGN_OR_RETURN(layer.b_qkv_N_, find(kQkv, "bias"));
  HETERO_ASSIGN_OR_RETURN(layer.w_out_CK_, find(kOut, "weight"));
  HETERO_ASSIGN_OR_RETURN(layer.b_out_C_, find(kOut, "bias"));
  HETERO_ASSIGN_OR_RETURN(layer.norm2_.weight_C, find(kFc1, "layer_norm_weight"));
  HETERO_ASSIGN_OR_RETURN(layer.norm2_.bias_C, find(kFc1, "layer_norm_bias"));
  HETERO_ASSIGN_OR_RETURN(layer.w1_FC_, find(kFc1, "weight"));
  HETERO_ASSIGN_OR_RETURN(layer.b1_F_, find(kFc1, "bias"));
  HETERO_ASSIGN_OR_RETURN(layer.w2_CF_, find(kFc2, "weight"));
  HETERO_ASSIGN_OR_RETURN(layer.b2_C_, find(kFc2, "bias"));
  return layer;
}

absl::StatusOr<TensorView> EncoderLayer::Forward(ModuleContext& context, ConstTensorView hidden_SC,
                                                 std::span<const int32_t> segments,
                                                 Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const DType dtype = hidden_SC.dtype();
  const int64_t tokens = hidden_SC.dim(0), c = config_.hidden_size, k = config_.attention_width();
  saved.segments = segments;

  HETERO_ASSIGN_OR_RETURN(saved.normed1_SC, ApplyLayerNorm(context, hidden_SC, norm1_,
                                                           config_.norm_epsilon, saved.norm1));
  HETERO_ASSIGN_OR_RETURN(saved.qkv_SN, arena.Allocate(dtype, {tokens, 3 * k}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.normed1_SC, w_qkv_NC_->value, b_qkv_N_->value, saved.qkv_SN, stream))
      .With(w_qkv_NC_->spec->name);
  HETERO_ASSIGN_OR_RETURN(saved.attention_SK, arena.Allocate(dtype, {tokens, k}));
  HETERO_ASSIGN_OR_RETURN(saved.lse,
                          arena.Allocate(ComputeDType(dtype), {config_.num_heads, tokens}));
  HETERO_RETURN_IF_ERROR(
      AttentionForward({.shape = {.num_groups = config_.num_heads,
                                  .heads_per_group = 1,
                                  .head_size = config_.head_dim,
                                  .segments = segments,
                                  .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim))},
                        .qkv = saved.qkv_SN,
                        .o = saved.attention_SK,
                        .lse_HT = saved.lse},
                       stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView middle_SC, arena.Allocate(dtype, {tokens, c}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.attention_SK, w_out_CK_->value, b_out_C_->value, middle_SC, stream))
      .With(w_out_CK_->spec->name);

  HETERO_ASSIGN_OR_RETURN(saved.normed2_SC, ApplyLayerNorm(context, middle_SC, hidden_SC, norm2_,
                                                           config_.norm_epsilon, saved.norm2));
  HETERO_ASSIGN_OR_RETURN(saved.inner_SF, arena.Allocate(dtype, {tokens, config_.ffn_size}));
  HETERO_ASSIGN_OR_RETURN(saved.activated_SF, arena.Allocate(dtype, {tokens, config_.ffn_size}));
  HETERO_RETURN_IF_ERROR(LinearForward(saved.normed2_SC, w1_FC_->value, {}, saved.inner_SF, stream))
      .With(w1_FC_->spec->name);
  HETERO_RETURN_IF_ERROR(
      GeluForward(config_.gelu, saved.inner_SF, b1_F_->value, saved.activated_SF, stream))
      .With(b1_F_->spec->name);
  HETERO_ASSIGN_OR_RETURN(const TensorView out_SC, context.AllocateResult(dtype, hidden_SC.dims()));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.activated_SF, w2_CF_->value, b2_C_->value, out_SC, stream))
      .With(w2_CF_->spec->name);
  HETERO_RETURN_IF_ERROR(Add(middle_SC, out_SC, out_SC, stream));
  return out_SC;
}

absl::Status EncoderLayer::Backward(ModuleContext& context, const Saved& saved,
                                    TensorView d_hidden_SC) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  const DType dtype = d_hidden_SC.dtype();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_SC,
                          workspace.Allocate(dtype, d_hidden_SC.dims()));
  {
    ArenaScope mlp_scope(workspace);
    HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_hidden_SC, *b2_C_));
    HETERO_ASSIGN_OR_RETURN(
        const TensorView d_inner_SF,
        ProjectToHiddenBackward(context, d_hidden_SC, saved.activated_SF, *w2_CF_));
    const WeightGradient d_bias = WeightGradientOf(context, *b1_F_);
    HETERO_RETURN_IF_ERROR(GeluBackward({.form = config_.gelu,
                                         .da_TF = d_inner_SF,
                                         .f_TF = saved.inner_SF,
                                         .bias_F = b1_F_->value,
                                         .df_TF = d_inner_SF,
                                         .dbias_F = d_bias.view,
                                         .accumulate = d_bias.accumulate},
                                        stream))
        .With(b1_F_->spec->name);
    HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_inner_SF, saved.normed2_SC, *w1_FC_));
    HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_inner_SF, w1_FC_->value, d_normed_SC,
                                               /*accumulate=*/false, stream));
    HETERO_RETURN_IF_ERROR(
        LayerNormGradient(context, saved.norm2, d_normed_SC, d_hidden_SC, d_hidden_SC, norm2_));
  }
  HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_hidden_SC, *b_out_C_));
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_attention_SK,
      ProjectToHiddenBackward(context, d_hidden_SC, saved.attention_SK, *w_out_CK_));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_qkv_SN,
                          workspace.Allocate(dtype, saved.qkv_SN.dims()));
  HETERO_RETURN_IF_ERROR(
      AttentionBackward({.shape = {.num_groups = config_.num_heads,
                                   .heads_per_group = 1,
                                   .head_size = config_.head_dim,
                                   .segments = saved.segments,
                                   .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim))},
                         .qkv = saved.qkv_SN,
                         .o = saved.attention_SK,
                         .lse_HT = saved.lse,
                         .d_o = d_attention_SK,
                         .d_qkv = d_qkv_SN},
                        stream));
  HETERO_RETURN_IF_ERROR(AddBiasGradient(context, d_qkv_SN, *b_qkv_N_));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_qkv_SN, saved.normed1_SC, *w_qkv_NC_));
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_qkv_SN, w_qkv_NC_->value, d_normed_SC,
                                             /*accumulate=*/false, stream));
  return LayerNormGradient(context, saved.norm1, d_normed_SC, d_hidden_SC, d_hidden_SC, norm1_);
}

}  // namespace hetero
