#include "hetero/models/blocks/attention/attention.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/nearest_size.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/attention/attention.h"

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

// Whether every one of `ranks` has whole heads of as many whole groups, or of one.
bool DividesHeads(const AttentionConfig& config, int64_t ranks) {
  if (ranks <= config.num_kv_groups) return config.num_kv_groups % ranks == 0;
  return ranks % config.num_kv_groups == 0 &&
         config.heads_per_group() % (ranks / config.num_kv_groups) == 0;
}

}  // namespace

std::vector<ParameterSpec> AttentionBlock::Parameters(const AttentionConfig& config,
                                                      std::string_view prefix) {
  const auto name = [&](std::string_view suffix) {
    return absl::StrCat(prefix, "self_attention.", suffix);
  };
  const DimSharding by_group = {.axis = ShardAxis::kTp,
                                .blocks = {{config.heads_per_group() * config.head_dim},
                                           {config.head_dim, /*whole=*/true},
                                           {config.head_dim, /*whole=*/true}},
                                .units = config.num_kv_groups};
  std::vector<ParameterSpec> specs = {
      {.name = name("linear_qkv.layer_norm_weight"),
       .shape = {config.hidden_size},
       .storage = config.storage,
       .init = Init::Constant(1),
       .partial_over_tp = true,
       .decay = false},
      {.name = name("linear_qkv.weight"),
       .shape = {config.qkv_width(), config.hidden_size},
       .storage = config.storage,
       .init = Init::Normal(config.init_std),
       .dims = {by_group, {}}},
      {.name = name("linear_proj.weight"),
       .shape = {config.hidden_size, config.num_heads * config.head_dim},
       .storage = config.storage,
       .init = Init::Normal(config.output_init_std),
       .dims = {{}, {ShardAxis::kTp, {}}}}};
  if (config.use_bias) {
    specs.push_back(BiasOf(name("linear_qkv.bias"), config.qkv_width(), by_group, config.storage));
    specs.push_back(BiasOf(name("linear_proj.bias"), config.hidden_size, {}, config.storage));
  }
  return specs;
}

absl::Status AttentionBlock::CheckRanks(const AttentionConfig& config, std::string_view prefix,
                                        int64_t tensor_parallel_ranks) {
  const auto divides = [&](int64_t ranks) { return DividesHeads(config, ranks); };
  if (divides(tensor_parallel_ranks)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      prefix, "self_attention has ", config.num_heads, " heads in ", config.num_kv_groups,
      " groups for ", tensor_parallel_ranks,
      " tensor-parallel ranks; expected ranks that divide the groups, or that the groups divide, "
      "and then the heads of a group divide among the ranks of a group; nearest: ",
      NearestSize(tensor_parallel_ranks, divides)));
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
  const SequenceParallel sequence(tensor_parallel);
  HETERO_RETURN_IF_ERROR(CheckRanks(config, prefix, sequence.size()));
  AttentionBlock block;
  HETERO_ASSIGN_OR_RETURN(
      block.norm_weight_H_,
      parameters.Find(absl::StrCat(prefix, "self_attention.linear_qkv.layer_norm_weight")));
  HETERO_ASSIGN_OR_RETURN(
      Parameter* const w_qkv_NH,
      parameters.Find(absl::StrCat(prefix, "self_attention.linear_qkv.weight")));
  HETERO_ASSIGN_OR_RETURN(
      Parameter* const w_out_HK,
      parameters.Find(absl::StrCat(prefix, "self_attention.linear_proj.weight")));
  Parameter* b_qkv_N = nullptr;
  Parameter* b_out_H = nullptr;
  if (config.use_bias) {
    HETERO_ASSIGN_OR_RETURN(
        b_qkv_N, parameters.Find(absl::StrCat(prefix, "self_attention.linear_qkv.bias")));
    HETERO_ASSIGN_OR_RETURN(
        b_out_H, parameters.Find(absl::StrCat(prefix, "self_attention.linear_proj.bias")));
  }
  block.w_qkv_NH_ = ColumnLinear(sequence, w_qkv_NH, b_qkv_N);
  block.w_out_HK_ = RowLinear(sequence, w_out_HK, b_out_H);
  block.local_ = config;
  block.local_.num_heads = w_out_HK->value.dim(1) / config.head_dim;
  block.local_.num_kv_groups =
      (w_qkv_NH->value.dim(0) / config.head_dim - block.local_.num_heads) / 2;
  return block;
}

absl::StatusOr<TensorView> AttentionBlock::Forward(ModuleContext& context,
                                                   ConstTensorView hidden_RH,
                                                   const SequenceBatch& batch, Saved& saved) const {
  const int64_t tokens = batch.num_tokens();
  HETERO_RETURN_IF_ERROR(Validate(batch, tokens));
  ArenaScope scope(context.stream.workspace());
  saved.hidden_RH = hidden_RH;
  saved.batch = batch;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_RH, *norm_weight_H_, local_.norm_epsilon));
  saved.normed_RH = normed.normed_TH;
  saved.rstd_R = normed.rstd_T;
  const DType dtype = hidden_RH.dtype();
  Arena& activations = context.activations;
  HETERO_ASSIGN_OR_RETURN(saved.qkv_TN, activations.Allocate(dtype, {tokens, w_qkv_NH_.width()}));
  HETERO_ASSIGN_OR_RETURN(
      saved.output_TK, activations.Allocate(dtype, {tokens, local_.num_heads * local_.head_dim}));
  HETERO_ASSIGN_OR_RETURN(saved.lse,
                          activations.Allocate(ComputeDType(dtype), {local_.num_heads, tokens}));
  HETERO_RETURN_IF_ERROR(w_qkv_NH_.Forward(context, saved.normed_RH, saved.qkv_TN));
  HETERO_RETURN_IF_ERROR(AttentionForward({.shape = ShapeOf(local_, batch),
                                           .qkv = saved.qkv_TN,
                                           .o = saved.output_TK,
                                           .lse_HT = saved.lse},
                                          context.stream));
  if (context.selective_recompute) saved.normed_RH = {};
  return w_out_HK_.Forward(context, saved.output_TK, hidden_RH);
}

absl::Status AttentionBlock::Backward(ModuleContext& context, const Saved& saved,
                                      TensorView d_hidden_RH) const {
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  TensorView normed_RH = saved.normed_RH;
  if (normed_RH.is_null()) {
    HETERO_ASSIGN_OR_RETURN(normed_RH, NormHiddenAgain(context, saved.hidden_RH, saved.rstd_R,
                                                       *norm_weight_H_, local_.norm_epsilon));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView d_output_TK,
                          w_out_HK_.Backward(context, d_hidden_RH, saved.output_TK));
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered normed,
                          w_qkv_NH_.StartBackward(context, normed_RH, saved.batch.num_tokens()));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_qkv_TN,
                          workspace.Allocate(saved.qkv_TN.dtype(), saved.qkv_TN.dims()));
  HETERO_RETURN_IF_ERROR(AttentionBackward({.shape = ShapeOf(local_, saved.batch),
                                            .qkv = saved.qkv_TN,
                                            .o = saved.output_TK,
                                            .lse_HT = saved.lse,
                                            .d_o = d_output_TK,
                                            .d_qkv = d_qkv_TN},
                                           context.stream));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_RH,
                          w_qkv_NH_.FinishBackward(context, d_qkv_TN, std::move(normed)));
  return NormHiddenBackward(context, d_normed_RH, saved.hidden_RH, saved.rstd_R, *norm_weight_H_,
                            d_hidden_RH);
}

}  // namespace hetero
