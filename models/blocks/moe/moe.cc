#include "hetero/models/blocks/moe/moe.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero {
namespace {

constexpr std::string_view kNorm = "pre_mlp_layernorm.weight";
constexpr std::string_view kRouter = "mlp.router.weight";
constexpr std::string_view kExpertBias = "mlp.router.expert_bias";
constexpr std::string_view kExpertFc1 = "mlp.experts.linear_fc1.weight";
constexpr std::string_view kExpertFc2 = "mlp.experts.linear_fc2.weight";
constexpr std::string_view kSharedFc1 = "mlp.shared_experts.linear_fc1.weight";
constexpr std::string_view kSharedFc2 = "mlp.shared_experts.linear_fc2.weight";

// INVALID_ARGUMENT unless the rows are those of a rank's shard of the batch.
absl::Status ExpectOwnRows(const ConstTensorView& hidden_TH, const SequenceBatch& batch,
                           const TokenShard& shard) {
  if (shard.size == 1) return Validate(batch, hidden_TH.dim(0));
  HETERO_RETURN_IF_ERROR(Validate(batch, shard.num_tokens));
  if (hidden_TH.dim(0) == shard.rows()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a rank of ", shard.size, " has ",
                                                 hidden_TH.dim(0), " rows of ", shard.num_tokens,
                                                 " tokens; expected ", shard.rows()));
}

}  // namespace

std::vector<ParameterSpec> MoeBlock::Parameters(const MoeConfig& config, std::string_view prefix) {
  const int64_t h = config.hidden_size, e = config.num_experts, f = config.ffn_size;
  const int64_t s = config.shared_ffn_size;
  const double active_share = static_cast<double>(config.top_k) / static_cast<double>(e);
  const auto name = [&](std::string_view suffix) { return absl::StrCat(prefix, suffix); };
  std::vector<ParameterSpec> specs = {{.name = name(kNorm),
                                       .shape = {h},
                                       .storage = config.storage,
                                       .init = Init::Constant(1),
                                       .partial_over_tp = true,
                                       .decay = false},
                                      {.name = name(kRouter),
                                       .shape = {e, h},
                                       .storage = config.storage,
                                       .init = Init::Normal(config.init_std),
                                       .partial_over_tp = true},
                                      {.name = name(kExpertBias),
                                       .shape = {e},
                                       .is_buffer = true,
                                       .storage = ComputeDType(config.storage),
                                       .init = Init::Constant(0),
                                       .decay = false},
                                      {.name = name(kExpertFc1),
                                       .shape = {e, f, h},
                                       .storage = config.storage,
                                       .init = Init::Normal(config.init_std),
                                       .dims = {{ShardAxis::kEp, {}}, {ShardAxis::kExptTp, {}}, {}},
                                       .gradient_group = GradientGroup::kExpert,
                                       .active_share = active_share},
                                      {.name = name(kExpertFc2),
                                       .shape = {e, h, f},
                                       .storage = config.storage,
                                       .init = Init::Normal(config.output_init_std),
                                       .dims = {{ShardAxis::kEp, {}}, {}, {ShardAxis::kExptTp, {}}},
                                       .gradient_group = GradientGroup::kExpert,
                                       .active_share = active_share}};
  if (s == 0) return specs;
  specs.push_back({.name = name(kSharedFc1),
                   .shape = {s, h},
                   .storage = config.storage,
                   .init = Init::Normal(config.init_std),
                   .dims = {{ShardAxis::kTp, {}}, {}}});
  specs.push_back({.name = name(kSharedFc2),
                   .shape = {h, s},
                   .storage = config.storage,
                   .init = Init::Normal(config.output_init_std),
                   .dims = {{}, {ShardAxis::kTp, {}}}});
  return specs;
}

absl::StatusOr<MoeBlock> MoeBlock::Create(const MoeConfig& config, std::string_view prefix,
                                          ParameterStore& parameters, MoeStatistics statistics,
                                          Communicator* tensor_parallel,
                                          Communicator* expert_parallel, Device device,
                                          MemoryLedger& ledger) {
  if (config.top_k < 1 || config.top_k > config.num_experts) {
    return absl::InvalidArgumentError(absl::StrCat("top_k is ", config.top_k, "; expected 1 to ",
                                                   config.num_experts, ", the experts"));
  }
  MoeBlock block;
  block.config_ = config;
  block.statistics_ = statistics;
  block.sequence_ = tensor_parallel;
  const auto find = [&](std::string_view suffix) {
    return parameters.Find(absl::StrCat(prefix, suffix));
  };
  HETERO_ASSIGN_OR_RETURN(block.norm_weight_H_, find(kNorm));
  HETERO_ASSIGN_OR_RETURN(block.router_EH_, find(kRouter));
  HETERO_ASSIGN_OR_RETURN(block.expert_bias_E_, find(kExpertBias));
  HETERO_ASSIGN_OR_RETURN(Parameter* const fc1_EFH, find(kExpertFc1));
  HETERO_ASSIGN_OR_RETURN(Parameter* const fc2_EHF, find(kExpertFc2));
  block.experts_ = Experts(fc1_EFH, fc2_EHF);
  HETERO_ASSIGN_OR_RETURN(
      block.exchange_,
      RowExchange::Create(expert_parallel, config.num_experts, block.experts_.count(),
                          absl::StrCat(prefix, "mlp.experts"), device, ledger));
  if (config.shared_ffn_size > 0) {
    HETERO_ASSIGN_OR_RETURN(Parameter* const shared_fc1_SH, find(kSharedFc1));
    HETERO_ASSIGN_OR_RETURN(Parameter* const shared_fc2_HS, find(kSharedFc2));
    const bool alone = block.sequence_.alone() && block.exchange_.alone();
    block.shared_ = SharedExpert(block.sequence_, alone, shared_fc1_SH, shared_fc2_HS);
  }
  return block;
}

absl::StatusOr<TensorView> MoeBlock::Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                             const SequenceBatch& batch, Saved& saved) const {
  const TokenShard shard = sequence_.Shard(batch.num_tokens());
  HETERO_RETURN_IF_ERROR(ExpectOwnRows(hidden_TH, batch, shard));
  HETERO_ASSIGN_OR_RETURN(const TensorView out_TH,
                          context.AllocateResult(hidden_TH.dtype(), hidden_TH.dims()));
  std::optional<ArenaScope> kept_by_nobody;
  if (context.mode == Mode::kEval) kept_by_nobody.emplace(context.activations);

  ArenaScope scope(context.stream.workspace());
  saved.hidden_TH = hidden_TH;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_TH, *norm_weight_H_, config_.norm_epsilon));
  saved.normed_TH = normed.normed_TH;
  saved.rstd_T = normed.rstd_T;
  // For the shared expert, beside the router.
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered all_normed,
                          shared_.StartForward(context, saved.normed_TH, shard.num_tokens));
  HETERO_RETURN_IF_ERROR(Route(context, batch, saved));
  HETERO_RETURN_IF_ERROR(exchange_.alone()
                             ? LocalForward(context, std::move(all_normed), saved, out_TH)
                             : ExchangeForward(context, std::move(all_normed), saved, out_TH));
  if (context.selective_recompute) {
    saved.normed_TH = saved.shared.activated_NS = saved.experts.activated_RF = {};
    if (exchange_.alone()) saved.experts.inputs_RH = {};
  }
  return out_TH;
}

absl::StatusOr<MoeBlock::Saved> MoeBlock::Complete(ModuleContext& context,
                                                   const Saved& kept) const {
  Saved saved = kept;
  if (!kept.normed_TH.is_null()) return saved;
  Arena& arena = context.recomputed();
  ExpertRows& rows = saved.experts;
  HETERO_ASSIGN_OR_RETURN(saved.normed_TH, NormHiddenAgain(context, kept.hidden_TH, kept.rstd_T,
                                                           *norm_weight_H_, config_.norm_epsilon));
  HETERO_ASSIGN_OR_RETURN(saved.shared.activated_NS, shared_.ActivateAgain(context, kept.shared));
  HETERO_ASSIGN_OR_RETURN(rows.activated_RF,
                          arena.Allocate(rows.inner_RF.dtype(), rows.inner_RF.dims()));
  if (exchange_.alone()) {
    HETERO_ASSIGN_OR_RETURN(rows.inputs_RH, arena.Allocate(kept.hidden_TH.dtype(),
                                                           {rows.count(), kept.hidden_TH.dim(1)}));
    HETERO_RETURN_IF_ERROR(
        ScatterTokenRows(saved.normed_TH, saved.rows_TKP, rows.inputs_RH, context.stream));
    HETERO_RETURN_IF_ERROR(Experts::ActivateAgain(rows, context.stream));
  } else if (kept.plan.num_rounds() == 1) {
    // Several make all of theirs again, one after another.
    HETERO_RETURN_IF_ERROR(
        Experts::ActivateAgain(rows.First(kept.plan.Round(0).num_arrived), context.stream));
  }
  return saved;
}

absl::Status MoeBlock::LocalForward(ModuleContext& context, SequenceParallel::Gathered all_normed,
                                    Saved& saved, TensorView out_TH) const {
  Stream& stream = context.stream;
  if (sequence_.alone() || !shared_.present()) {
    HETERO_RETURN_IF_ERROR(RoutedForward(context, saved, out_TH));
    HETERO_RETURN_IF_ERROR(shared_.Activate(context, std::move(all_normed), saved.shared));
    return shared_.AddTo(context, saved.shared, out_TH);
  }
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView shared_TH,
                          stream.workspace().Allocate(out_TH.dtype(), out_TH.dims()));
  HETERO_RETURN_IF_ERROR(shared_.Activate(context, std::move(all_normed), saved.shared));
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark summed,
                          shared_.StartProduct(context, saved.shared, shared_TH));
  HETERO_RETURN_IF_ERROR(RoutedForward(context, saved, out_TH));
  HETERO_RETURN_IF_ERROR(sequence_.Join(std::move(summed), stream));
  return Add(out_TH, shared_TH, out_TH, stream);
}

absl::Status MoeBlock::RoutedForward(ModuleContext& context, const Saved& saved,
                                     TensorView out_TH) const {
  Stream& stream = context.stream;
  HETERO_RETURN_IF_ERROR(
      ScatterTokenRows(saved.normed_TH, saved.rows_TKP, saved.experts.inputs_RH, stream));
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView outputs_RH,
      stream.workspace().Allocate(out_TH.dtype(), saved.experts.inputs_RH.dims()));
  HETERO_RETURN_IF_ERROR(experts_.Forward(saved.experts, outputs_RH, stream));
  return SumTokenRows(outputs_RH, saved.rows_TKP, saved.hidden_TH, out_TH, stream);
}

absl::Status MoeBlock::LocalBackward(ModuleContext& context, const Saved& saved,
                                     ConstTensorView d_out_TH, TensorView d_probs_O,
                                     TensorView d_normed_TH) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  const DType dtype = d_out_TH.dtype();
  HETERO_ASSIGN_OR_RETURN(const TensorView d_rows_RH,
                          workspace.Allocate(dtype, saved.experts.inputs_RH.dims()));
  // For the shared expert, beside the others.
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered all_d_out,
                          shared_.StartBackward(context, saved.shared, d_out_TH));
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered all_normed,
                          shared_.StartInput(context, saved.shared, saved.normed_TH));
  {
    ArenaScope scope_of_experts(workspace);
    HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_RF,
                            workspace.Allocate(dtype, saved.experts.inner_RF.dims()));
    HETERO_RETURN_IF_ERROR(ScatterTokenRows(d_out_TH, saved.rows_TKP, d_rows_RH, stream));
    HETERO_RETURN_IF_ERROR(experts_.Backward(context, saved.experts, experts_.GradientsOf(context),
                                             saved.experts.count(), d_rows_RH, d_inner_RF,
                                             d_probs_O));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_NS,
                          shared_.ActivationBackward(context, saved.shared, std::move(all_d_out)));
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView d_shared_TH,
      shared_.FinishBackward(context, d_inner_NS, std::move(all_normed), d_normed_TH));
  return SumTokenRows(d_rows_RH, saved.rows_TKP, d_shared_TH, d_normed_TH, stream);
}

absl::Status MoeBlock::Backward(ModuleContext& context, const Saved& kept,
                                TensorView d_hidden_TH) const {
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const Saved saved, Complete(context, kept));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_TH,
                          workspace.Allocate(d_hidden_TH.dtype(), d_hidden_TH.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_probs_O,
                          workspace.Allocate(saved.experts.probs_R.dtype(), saved.tokens_O.dims()));
  HETERO_RETURN_IF_ERROR(
      exchange_.alone() ? LocalBackward(context, saved, d_hidden_TH, d_probs_O, d_normed_TH)
                        : ExchangeBackward(context, saved, d_hidden_TH, d_probs_O, d_normed_TH));
  HETERO_RETURN_IF_ERROR(RouteBackward(context, saved, d_probs_O, d_normed_TH));
  return NormHiddenBackward(context, d_normed_TH, saved.hidden_TH, saved.rstd_T, *norm_weight_H_,
                            d_hidden_TH);
}

absl::Status MoeBlock::UpdateExpertBias(ConstTensorView decisions, Stream& stream) const {
  return hetero::UpdateExpertBias(config_.expert_bias_rate,
                                  config_.update_bias_on_skip ? ConstTensorView() : decisions,
                                  statistics_.tokens_per_expert_E, expert_bias_E_->value, stream);
}

}  // namespace hetero
