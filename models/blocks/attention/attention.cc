#include "hetero/models/blocks/attention/attention.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/gemm/gemm.h"

namespace hetero {
namespace {

AttentionShape ShapeOf(const AttentionConfig& config, const SequenceBatch& batch) {
  return {.num_groups = config.num_kv_groups,
          .heads_per_group = config.heads_per_group(),
          .head_size = config.head_dim,
          .segments = batch.cu_seqlens,
          .causal = true,
          .scale = 1 / std::sqrt(static_cast<double>(config.head_dim))};
}

}  // namespace

std::vector<ParameterSpec> AttentionBlock::Parameters(const AttentionConfig& config,
                                                      std::string_view prefix) {
  const auto name = [&](std::string_view suffix) {
    return absl::StrCat(prefix, "self_attention.", suffix);
  };
  return {{.name = name("linear_qkv.layer_norm_weight"),
           .shape = {config.hidden_size},
           .storage = config.storage,
           .init = Init::Constant(1),
           .partial_over_tp = true,
           .decay = false},
          {.name = name("linear_qkv.weight"),
           .shape = {config.qkv_width(), config.hidden_size},
           .storage = config.storage,
           .init = Init::Normal(config.init_std),
           .dims = {{ShardAxis::kTp, {}}, {}}},
          {.name = name("linear_proj.weight"),
           .shape = {config.hidden_size, config.num_heads * config.head_dim},
           .storage = config.storage,
           .init = Init::Normal(config.output_init_std),
           .dims = {{}, {ShardAxis::kTp, {}}}}};
}

absl::StatusOr<AttentionBlock> AttentionBlock::Create(const AttentionConfig& config,
                                                      std::string_view prefix,
                                                      ParameterStore& parameters,
                                                      Communicator* tensor_parallel) {
  if (config.num_kv_groups < 1 || config.num_heads % config.num_kv_groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("attention has ", config.num_heads, " heads in ",
                                                   config.num_kv_groups,
                                                   " groups; the groups must divide the heads"));
  }
  if (tensor_parallel != nullptr) {
    return absl::UnimplementedError(
        "an attention block runs on one tensor-parallel rank; set tp to 1");
  }
  AttentionBlock block;
  block.config_ = config;
  HETERO_ASSIGN_OR_RETURN(
      block.norm_weight_H_,
      parameters.Find(absl::StrCat(prefix, "self_attention.linear_qkv.layer_norm_weight")));
  HETERO_ASSIGN_OR_RETURN(
      block.w_qkv_NH_, parameters.Find(absl::StrCat(prefix, "self_attention.linear_qkv.weight")));
  HETERO_ASSIGN_OR_RETURN(
      block.w_out_HK_, parameters.Find(absl::StrCat(prefix, "self_attention.linear_proj.weight")));
  return block;
}

absl::StatusOr<TensorView> AttentionBlock::Forward(ModuleContext& context,
                                                   ConstTensorView hidden_TH,
                                                   const SequenceBatch& batch, Saved& saved) const {
  HETERO_RETURN_IF_ERROR(Validate(batch, hidden_TH.dim(0)));
  saved.hidden_TH = hidden_TH;
  saved.batch = batch;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_TH, *norm_weight_H_, config_.norm_epsilon));
  saved.normed_TH = normed.normed_TH;
  saved.rstd_T = normed.rstd_T;
  const int64_t tokens = hidden_TH.dim(0);
  HETERO_ASSIGN_OR_RETURN(
      saved.qkv_TN, context.activations.Allocate(hidden_TH.dtype(), {tokens, config_.qkv_width()}));
  HETERO_ASSIGN_OR_RETURN(saved.output_TK,
                          context.activations.Allocate(
                              hidden_TH.dtype(), {tokens, config_.num_heads * config_.head_dim}));
  HETERO_ASSIGN_OR_RETURN(saved.lse, context.activations.Allocate(ComputeDType(hidden_TH.dtype()),
                                                                  {config_.num_heads, tokens}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.normed_TH, w_qkv_NH_->value, {}, saved.qkv_TN, context.stream));
  HETERO_RETURN_IF_ERROR(AttentionForward({.shape = ShapeOf(config_, batch),
                                           .qkv = saved.qkv_TN,
                                           .o = saved.output_TK,
                                           .lse_HT = saved.lse},
                                          context.stream));
  return ProjectToHidden(context, saved.output_TK, *w_out_HK_, hidden_TH);
}

absl::Status AttentionBlock::Backward(ModuleContext& context, const Saved& saved,
                                      TensorView d_hidden_TH) const {
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_output_TK,
      ProjectToHiddenBackward(context, d_hidden_TH, saved.output_TK, *w_out_HK_));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_qkv_TN,
                          workspace.Allocate(saved.qkv_TN.dtype(), saved.qkv_TN.dims()));
  HETERO_RETURN_IF_ERROR(AttentionBackward({.shape = ShapeOf(config_, saved.batch),
                                            .qkv = saved.qkv_TN,
                                            .o = saved.output_TK,
                                            .lse_HT = saved.lse,
                                            .d_o = d_output_TK,
                                            .d_qkv = d_qkv_TN},
                                           context.stream));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_qkv_TN, saved.normed_TH, *w_qkv_NH_));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_TH,
                          workspace.Allocate(d_hidden_TH.dtype(), d_hidden_TH.dims()));
  HETERO_RETURN_IF_ERROR(LinearBackwardInput(d_qkv_TN, w_qkv_NH_->value, d_normed_TH,
                                             /*accumulate=*/false, context.stream));
  return NormHiddenBackward(context, d_normed_TH, saved.hidden_TH, saved.rstd_T, *norm_weight_H_,
                            d_hidden_TH);
}

}  // namespace hetero
