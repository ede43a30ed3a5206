#include "hetero/models/blocks/moe/moe.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"
#include "hetero/tensor/ops/router/router.h"

namespace hetero {
namespace {

constexpr std::string_view kNorm = "pre_mlp_layernorm.weight";
constexpr std::string_view kRouter = "mlp.router.weight";
constexpr std::string_view kExpertBias = "mlp.router.expert_bias";
constexpr std::string_view kExpertFc1 = "mlp.experts.linear_fc1.weight";
constexpr std::string_view kExpertFc2 = "mlp.experts.linear_fc2.weight";
constexpr std::string_view kSharedFc1 = "mlp.shared_experts.linear_fc1.weight";
constexpr std::string_view kSharedFc2 = "mlp.shared_experts.linear_fc2.weight";

// y = y + x wᵀ.
absl::Status AddLinear(ConstTensorView x_TK, const Parameter& weight_NK, TensorView y_TN,
                       Stream& stream) {
  HETERO_RETURN_IF_ERROR(Gemm({.a = x_TK,
                               .b = weight_NK.value,
                               .c = y_TN,
                               .transpose_b = true,
                               .beta = 1,
                               .name = "linear.forward"},
                              stream))
      .With(weight_NK.spec->name);
  return absl::OkStatus();
}

}  // namespace

std::vector<ParameterSpec> MoeBlock::Parameters(const MoeConfig& config, std::string_view prefix) {
  const int64_t h = config.hidden_size, e = config.num_experts, f = config.ffn_size;
  const int64_t s = config.shared_ffn_size;
  const double active_share = static_cast<double>(config.top_k) / static_cast<double>(e);
  const auto name = [&](std::string_view suffix) { return absl::StrCat(prefix, suffix); };
  return {{.name = name(kNorm),
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
           .active_share = active_share},
          {.name = name(kSharedFc1),
           .shape = {s, h},
           .storage = config.storage,
           .init = Init::Normal(config.init_std),
           .dims = {{ShardAxis::kTp, {}}, {}}},
          {.name = name(kSharedFc2),
           .shape = {h, s},
           .storage = config.storage,
           .init = Init::Normal(config.output_init_std),
           .dims = {{}, {ShardAxis::kTp, {}}}}};
}

absl::StatusOr<MoeBlock> MoeBlock::Create(const MoeConfig& config, std::string_view prefix,
                                          ParameterStore& parameters, MoeStatistics statistics,
                                          Communicator* tensor_parallel,
                                          Communicator* expert_parallel) {
  if (tensor_parallel != nullptr) {
    return absl::UnimplementedError(
        "an expert block runs on one tensor-parallel rank; set tp to 1");
  }
  if (expert_parallel != nullptr) {
    return absl::UnimplementedError(
        "an expert block runs on one expert-parallel rank; set ep to 1");
  }
  if (config.top_k < 1 || config.top_k > config.num_experts) {
    return absl::InvalidArgumentError(absl::StrCat("top_k is ", config.top_k, "; expected 1 to ",
                                                   config.num_experts, ", the experts"));
  }
  MoeBlock block;
  block.config_ = config;
  block.statistics_ = statistics;
  const auto find = [&](std::string_view suffix) {
    return parameters.Find(absl::StrCat(prefix, suffix));
  };
  HETERO_ASSIGN_OR_RETURN(block.norm_weight_H_, find(kNorm));
  HETERO_ASSIGN_OR_RETURN(block.router_EH_, find(kRouter));
  HETERO_ASSIGN_OR_RETURN(block.expert_bias_E_, find(kExpertBias));
  HETERO_ASSIGN_OR_RETURN(block.w1_EFH_, find(kExpertFc1));
  HETERO_ASSIGN_OR_RETURN(block.w2_EHF_, find(kExpertFc2));
  HETERO_ASSIGN_OR_RETURN(block.shared_w1_SH_, find(kSharedFc1));
  HETERO_ASSIGN_OR_RETURN(block.shared_w2_HS_, find(kSharedFc2));
  return block;
}

absl::Status MoeBlock::Route(ModuleContext& context, const SequenceBatch& batch,
                             Saved& saved) const {
  Stream& stream = context.stream;
  const int64_t tokens = saved.normed_TH.dim(0);
  const int64_t experts = config_.num_experts, k = config_.top_k;
  const DType compute = ComputeDType(saved.normed_TH.dtype());
  const auto keep = [&](TensorView& view, DType dtype, std::initializer_list<int64_t> dims) {
    absl::StatusOr<TensorView> allocated = context.activations.Allocate(dtype, dims);
    if (allocated.ok()) view = *allocated;
    return allocated.status();
  };
  HETERO_RETURN_IF_ERROR(keep(saved.logits_TE, compute, {tokens, experts}));
  HETERO_RETURN_IF_ERROR(keep(saved.experts_TK, DType::kI32, {tokens, k}));
  HETERO_RETURN_IF_ERROR(keep(saved.offsets_E1, DType::kI32, {experts + 1}));
  HETERO_RETURN_IF_ERROR(keep(saved.rows_TK, DType::kI32, {tokens, k}));
  HETERO_RETURN_IF_ERROR(keep(saved.tokens_R, DType::kI32, {batch.num_unpadded_tokens() * k}));
  HETERO_RETURN_IF_ERROR(keep(saved.probs_R, compute, {batch.num_unpadded_tokens() * k}));
  const bool balances =
      context.mode != Mode::kEval && config_.aux_loss_coefficient > 0 && batch.num_rows > 0;
  saved.aux_counts_BE = {};
  if (balances) {
    HETERO_RETURN_IF_ERROR(keep(saved.aux_counts_BE, DType::kI32, {batch.num_rows, experts}));
  }

  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView probs_TK,
                          stream.workspace().Allocate(compute, {tokens, k}));
  HETERO_ASSIGN_OR_RETURN(const TensorView counts_E,
                          stream.workspace().Allocate(DType::kI32, {experts}));
  TensorView aux_prob_sums_BE;
  if (balances) {
    HETERO_ASSIGN_OR_RETURN(aux_prob_sums_BE,
                            stream.workspace().Allocate(compute, {batch.num_rows, experts}));
  }
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.normed_TH, router_EH_->value, {}, saved.logits_TE, stream))
      .With(router_EH_->spec->name);
  HETERO_RETURN_IF_ERROR(
      RouterForward({.logits_TE = saved.logits_TE,
                     .expert_bias_E = expert_bias_E_->value,
                     .token_offsets_B1 = batch.device_token_offsets,
                     .scale = config_.router_scaling,
                     .balanced = config_.force_load_balancing,
                     .experts_TK = saved.experts_TK,
                     .probs_TK = probs_TK,
                     .counts_E = counts_E,
                     .total_counts_E = context.counts_statistics() ? statistics_.tokens_per_expert_E
                                                                   : TensorView(),
                     .aux_counts_BE = saved.aux_counts_BE,
                     .aux_prob_sums_BE = aux_prob_sums_BE},
                    stream));
  if (balances && context.counts_statistics()) {
    HETERO_RETURN_IF_ERROR(AddSequenceAuxLoss(/*coefficient=*/1, saved.aux_counts_BE,
                                              aux_prob_sums_BE, statistics_.balance_loss_1,
                                              stream));
  }
  HETERO_RETURN_IF_ERROR(AssignExpertRows({.experts_TK = saved.experts_TK,
                                           .counts_E = counts_E,
                                           .offsets_E1 = saved.offsets_E1,
                                           .rows_TK = saved.rows_TK,
                                           .tokens_R = saved.tokens_R},
                                          stream));
  return ScatterToRows(probs_TK, saved.rows_TK, saved.probs_R, stream);
}

absl::StatusOr<TensorView> MoeBlock::Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                             const SequenceBatch& batch, Saved& saved) const {
  Stream& stream = context.stream;
  const DType dtype = hidden_TH.dtype();
  const int64_t tokens = hidden_TH.dim(0), rows = batch.num_unpadded_tokens() * config_.top_k;
  HETERO_RETURN_IF_ERROR(Validate(batch, tokens));
  HETERO_ASSIGN_OR_RETURN(const TensorView out_TH, context.AllocateResult(dtype, hidden_TH.dims()));
  std::optional<ArenaScope> kept_by_nobody;
  if (context.mode == Mode::kEval) kept_by_nobody.emplace(context.activations);

  saved.hidden_TH = hidden_TH;
  HETERO_ASSIGN_OR_RETURN(const NormedHidden normed,
                          NormHidden(context, hidden_TH, *norm_weight_H_, config_.norm_epsilon));
  saved.normed_TH = normed.normed_TH;
  saved.rstd_T = normed.rstd_T;
  HETERO_RETURN_IF_ERROR(Route(context, batch, saved));

  Arena& arena = context.activations;
  const int64_t f = config_.ffn_size, s = config_.shared_ffn_size;
  HETERO_ASSIGN_OR_RETURN(saved.inputs_RH, arena.Allocate(dtype, {rows, config_.hidden_size}));
  HETERO_ASSIGN_OR_RETURN(saved.inner_RF, arena.Allocate(dtype, {rows, f}));
  HETERO_ASSIGN_OR_RETURN(saved.activated_RF, arena.Allocate(dtype, {rows, f}));
  HETERO_RETURN_IF_ERROR(GatherTokenRows(saved.normed_TH, saved.tokens_R, saved.inputs_RH, stream));
  HETERO_RETURN_IF_ERROR(ExpertLinearForward(saved.inputs_RH, w1_EFH_->value, saved.offsets_E1,
                                             saved.inner_RF, stream))
      .With(w1_EFH_->spec->name);
  HETERO_RETURN_IF_ERROR(
      SquaredReluForward(saved.inner_RF, saved.probs_R, saved.activated_RF, stream));
  {
    ArenaScope scope(stream.workspace());
    HETERO_ASSIGN_OR_RETURN(const TensorView outputs_RH,
                            stream.workspace().Allocate(dtype, {rows, config_.hidden_size}));
    HETERO_RETURN_IF_ERROR(ExpertLinearForward(saved.activated_RF, w2_EHF_->value, saved.offsets_E1,
                                               outputs_RH, stream))
        .With(w2_EHF_->spec->name);
    HETERO_RETURN_IF_ERROR(SumTokenRows(outputs_RH, saved.rows_TK, hidden_TH, out_TH, stream));
  }

  HETERO_ASSIGN_OR_RETURN(saved.shared_inner_TS, arena.Allocate(dtype, {tokens, s}));
  HETERO_ASSIGN_OR_RETURN(saved.shared_activated_TS, arena.Allocate(dtype, {tokens, s}));
  HETERO_RETURN_IF_ERROR(
      LinearForward(saved.normed_TH, shared_w1_SH_->value, {}, saved.shared_inner_TS, stream))
      .With(shared_w1_SH_->spec->name);
  HETERO_RETURN_IF_ERROR(
      SquaredReluForward(saved.shared_inner_TS, {}, saved.shared_activated_TS, stream));
  HETERO_RETURN_IF_ERROR(AddLinear(saved.shared_activated_TS, *shared_w2_HS_, out_TH, stream));
  return out_TH;
}

absl::Status MoeBlock::AddExpertWeightGradient(ModuleContext& context, ConstTensorView dy,
                                               ConstTensorView x, const Saved& saved,
                                               Parameter& weight) const {
  const WeightGradient gradient = WeightGradientOf(context, weight);
  if (!gradient.wanted()) return absl::OkStatus();
  return NowOrLater(
      context, dy,
      [x, offsets_E1 = saved.offsets_E1, gradient, spec = weight.spec](
          ConstTensorView of_output, Stream& stream) -> absl::Status {
        HETERO_RETURN_IF_ERROR(ExpertLinearBackwardWeight(of_output, x, offsets_E1, gradient.view,
                                                          gradient.accumulate, stream))
            .With(spec->name);
        return absl::OkStatus();
      });
}

absl::Status MoeBlock::SharedBackward(ModuleContext& context, const Saved& saved,
                                      ConstTensorView d_out_TH, TensorView d_normed_TH) const {
  ArenaScope scope(context.stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_inner_TS,
      ProjectToHiddenBackward(context, d_out_TH, saved.shared_activated_TS, *shared_w2_HS_));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward(
      {.da_TF = d_inner_TS, .f_TF = saved.shared_inner_TS, .df_TF = d_inner_TS}, context.stream));
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, d_inner_TS, saved.normed_TH, *shared_w1_SH_));
  return LinearBackwardInput(d_inner_TS, shared_w1_SH_->value, d_normed_TH, /*accumulate=*/false,
                             context.stream);
}

absl::Status MoeBlock::RouteBackward(ModuleContext& context, const Saved& saved,
                                     ConstTensorView d_probs_R, TensorView d_normed_TH) const {
  Stream& stream = context.stream;
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView d_probs_TK,
                          stream.workspace().Allocate(d_probs_R.dtype(), saved.rows_TK.dims()));
  HETERO_ASSIGN_OR_RETURN(
      const TensorView d_logits_TE,
      stream.workspace().Allocate(saved.logits_TE.dtype(), saved.logits_TE.dims()));
  HETERO_RETURN_IF_ERROR(GatherFromRows(d_probs_R, saved.rows_TK, d_probs_TK, stream));
  HETERO_RETURN_IF_ERROR(RouterBackward({.logits_TE = saved.logits_TE,
                                         .experts_TK = saved.experts_TK,
                                         .d_probs_TK = d_probs_TK,
                                         .scale = config_.router_scaling,
                                         .aux_counts_BE = saved.aux_counts_BE,
                                         .aux_coefficient = config_.aux_loss_coefficient,
                                         .d_logits_TE = d_logits_TE},
                                        stream));
  // A product's operands have one type: the logits' gradient is rounded like any activation's.
  ConstTensorView dy_TE = d_logits_TE;
  if (router_EH_->value.dtype() != d_logits_TE.dtype()) {
    HETERO_ASSIGN_OR_RETURN(
        const TensorView rounded_TE,
        stream.workspace().Allocate(router_EH_->value.dtype(), d_logits_TE.dims()));
    HETERO_RETURN_IF_ERROR(Copy(d_logits_TE, rounded_TE, stream));
    dy_TE = rounded_TE;
  }
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, dy_TE, saved.normed_TH, *router_EH_));
  return LinearBackwardInput(dy_TE, router_EH_->value, d_normed_TH, /*accumulate=*/true, stream);
}

absl::Status MoeBlock::Backward(ModuleContext& context, const Saved& saved,
                                TensorView d_hidden_TH) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  const DType dtype = d_hidden_TH.dtype();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView d_normed_TH,
                          workspace.Allocate(dtype, d_hidden_TH.dims()));
  HETERO_RETURN_IF_ERROR(SharedBackward(context, saved, d_hidden_TH, d_normed_TH));

  HETERO_ASSIGN_OR_RETURN(const TensorView d_rows_RH,
                          workspace.Allocate(dtype, saved.inputs_RH.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_RF,
                          workspace.Allocate(dtype, saved.inner_RF.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_probs_R,
                          workspace.Allocate(saved.probs_R.dtype(), saved.probs_R.dims()));
  HETERO_RETURN_IF_ERROR(GatherTokenRows(d_hidden_TH, saved.tokens_R, d_rows_RH, stream));
  HETERO_RETURN_IF_ERROR(
      ExpertLinearBackwardInput(d_rows_RH, w2_EHF_->value, saved.offsets_E1, d_inner_RF, stream))
      .With(w2_EHF_->spec->name);
  HETERO_RETURN_IF_ERROR(
      AddExpertWeightGradient(context, d_rows_RH, saved.activated_RF, saved, *w2_EHF_));
  HETERO_RETURN_IF_ERROR(SquaredReluBackward({.da_TF = d_inner_RF,
                                              .f_TF = saved.inner_RF,
                                              .p_T = saved.probs_R,
                                              .df_TF = d_inner_RF,
                                              .dp_T = d_probs_R},
                                             stream));
  HETERO_RETURN_IF_ERROR(
      ExpertLinearBackwardInput(d_inner_RF, w1_EFH_->value, saved.offsets_E1, d_rows_RH, stream))
      .With(w1_EFH_->spec->name);
  HETERO_RETURN_IF_ERROR(
      AddExpertWeightGradient(context, d_inner_RF, saved.inputs_RH, saved, *w1_EFH_));
  HETERO_RETURN_IF_ERROR(SumTokenRows(d_rows_RH, saved.rows_TK, d_normed_TH, d_normed_TH, stream));

  HETERO_RETURN_IF_ERROR(RouteBackward(context, saved, d_probs_R, d_normed_TH));
  return NormHiddenBackward(context, d_normed_TH, saved.hidden_TH, saved.rstd_T, *norm_weight_H_,
                            d_hidden_TH);
}

absl::Status MoeBlock::UpdateExpertBias(Stream& stream) const {
  return hetero::UpdateExpertBias(config_.expert_bias_rate, statistics_.tokens_per_expert_E,
                                  expert_bias_E_->value, stream);
}

}  // namespace hetero
