#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero {
namespace {

// Of the shard's tokens, those that are no padding.
int64_t NumUnpaddedTokens(const SequenceBatch& batch, const TokenShard& shard) {
  if (batch.token_offsets.empty()) return shard.num_owned();
  const auto owned = [&](int64_t token) {
    return std::clamp<int64_t>(token - shard.begin(), 0, shard.num_owned());
  };
  int64_t count = 0;
  for (int64_t row = 0; row < batch.num_rows; ++row) {
    const int64_t first = row * batch.row_length;
    const int64_t tokens = batch.token_offsets[row + 1] - batch.token_offsets[row];
    count += owned(first + tokens) - owned(first);
  }
  return count;
}

// One of `copies` columns that stand for a choice.
template <typename View>
View Copies(const View& values_TKP, int64_t copies, int64_t copy) {
  return values_TKP.Reshape({values_TKP.num_elements() / copies, copies}).Columns(copy, 1);
}

}  // namespace

absl::Status MoeBlock::Route(ModuleContext& context, const SequenceBatch& batch,
                             Saved& saved) const {
  Stream& stream = context.stream;
  Arena& arena = context.activations;
  const TokenShard shard = sequence_.Shard(batch.num_tokens());
  const int64_t rows = saved.normed_TH.dim(0), copies = exchange_.copies();
  const int64_t experts = config_.num_experts, k = config_.top_k;
  const int64_t own_rows = NumUnpaddedTokens(batch, shard) * k * copies;
  const DType compute = ComputeDType(saved.normed_TH.dtype());
  const auto keep = [&](TensorView& view, DType dtype, std::initializer_list<int64_t> dims) {
    absl::StatusOr<TensorView> allocated = arena.Allocate(dtype, dims);
    if (allocated.ok()) view = *allocated;
    return allocated.status();
  };
  saved.places = {.first = shard.rank * shard.rows(), .num_all = shard.num_tokens};
  HETERO_RETURN_IF_ERROR(keep(saved.logits_TE, compute, {rows, experts}));
  HETERO_RETURN_IF_ERROR(keep(saved.experts_TK, DType::kI32, {rows, k}));
  HETERO_RETURN_IF_ERROR(keep(saved.rows_TKP, DType::kI32, {rows, k * copies}));
  HETERO_RETURN_IF_ERROR(keep(saved.tokens_O, DType::kI32, {own_rows}));
  const bool balances =
      context.mode != Mode::kEval && config_.aux_loss_coefficient > 0 && batch.num_rows > 0;
  saved.aux_counts_BE = {};
  if (balances) {
    HETERO_RETURN_IF_ERROR(keep(saved.aux_counts_BE, DType::kI32, {batch.num_rows, experts}));
  }
  if (exchange_.alone()) {
    HETERO_ASSIGN_OR_RETURN(saved.experts, experts_.Allocate(context, context.brief(), own_rows));
  } else {
    HETERO_RETURN_IF_ERROR(keep(saved.probs_O, compute, {own_rows}));
    HETERO_RETURN_IF_ERROR(keep(saved.table_GE1, DType::kI32, {exchange_.size(), experts + 1}));
  }

  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView probs_TK,
                          stream.workspace().Allocate(compute, {rows, k}));
  HETERO_ASSIGN_OR_RETURN(const TensorView counts_E1,
                          stream.workspace().Allocate(DType::kI32, {experts + 1}));
  const TensorView counts_E = counts_E1.Rows(0, experts);
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
                     .places = saved.places,
                     .groups = config_.groups,
                     .scale = config_.router_scaling,
                     .normalized = config_.normalize_probabilities,
                     .balanced = config_.force_load_balancing,
                     .experts_TK = saved.experts_TK,
                     .probs_TK = probs_TK,
                     .counts_E = counts_E,
                     .total_counts_E = context.counts_statistics() ? statistics_.tokens_per_expert_E
                                                                   : TensorView(),
                     .aux_counts_BE = saved.aux_counts_BE,
                     .aux_prob_sums_BE = aux_prob_sums_BE},
                    stream));
  if (!exchange_.alone()) {
    HETERO_RETURN_IF_ERROR(
        exchange_.GatherCounts(counts_E1, Bound(rows, stream.device()), saved.table_GE1, stream));
  }
  if (balances && !sequence_.alone()) {
    HETERO_RETURN_IF_ERROR(sequence_.communicator()->AllReduce(
        saved.aux_counts_BE, saved.aux_counts_BE, ReduceOp::kSum, stream,
        absl::StrCat(router_EH_->spec->name, ".balance")));
  }
  if (balances && context.counts_statistics()) {
    HETERO_RETURN_IF_ERROR(AddSequenceAuxLoss(/*coefficient=*/1, saved.aux_counts_BE,
                                              aux_prob_sums_BE, statistics_.balance_loss_1,
                                              stream));
  }
  if (exchange_.alone()) {
    return AssignRows(probs_TK, counts_E, saved.experts.offsets_E1, saved.experts.probs_R, saved,
                      stream);
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView offsets_E1,
                          stream.workspace().Allocate(DType::kI32, {experts * copies + 1}));
  return AssignRows(probs_TK, counts_E, offsets_E1, saved.probs_O, saved, stream);
}

// The O rows, sorted by (rank, its expert), and their probabilities.
absl::Status MoeBlock::AssignRows(const ConstTensorView& probs_TK, const ConstTensorView& counts_E,
                                  const TensorView& offsets_E1, const TensorView& probs_O,
                                  const Saved& saved, Stream& stream) const {
  const int64_t copies = exchange_.copies();
  if (copies == 1) {
    HETERO_RETURN_IF_ERROR(AssignExpertRows({.experts_TK = saved.experts_TK,
                                             .counts_E = counts_E,
                                             .offsets_E1 = offsets_E1,
                                             .rows_TK = saved.rows_TKP,
                                             .tokens_R = saved.tokens_O},
                                            stream));
    return ScatterToRows(probs_TK, saved.rows_TKP, probs_O, stream);
  }
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView numbers_TKP,
                          workspace.Allocate(DType::kI32, saved.rows_TKP.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView counts_EP,
                          workspace.Allocate(DType::kI32, {counts_E.dim(0) * copies}));
  HETERO_ASSIGN_OR_RETURN(const TensorView probs_TKP,
                          workspace.Allocate(probs_TK.dtype(), saved.rows_TKP.dims()));
  HETERO_RETURN_IF_ERROR(SpreadChoices({.experts_TK = saved.experts_TK,
                                        .counts_E = counts_E,
                                        .experts_of_rank = experts_.count(),
                                        .numbers_TKP = numbers_TKP,
                                        .counts_EP = counts_EP},
                                       stream));
  for (int64_t copy = 0; copy < copies; ++copy) {
    HETERO_RETURN_IF_ERROR(Copy(probs_TK.Reshape({probs_TK.num_elements(), 1}),
                                Copies(probs_TKP, copies, copy), stream));
  }
  HETERO_RETURN_IF_ERROR(AssignExpertRows({.experts_TK = numbers_TKP,
                                           .counts_E = counts_EP,
                                           .offsets_E1 = offsets_E1,
                                           .rows_TK = saved.rows_TKP,
                                           .tokens_R = saved.tokens_O},
                                          stream));
  return ScatterToRows(probs_TKP, saved.rows_TKP, probs_O, stream);
}

absl::Status MoeBlock::RouteBackward(ModuleContext& context, const Saved& saved,
                                     ConstTensorView d_probs_O, TensorView d_normed_TH) const {
  Stream& stream = context.stream;
  Arena& workspace = stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView d_probs_TKP,
                          workspace.Allocate(d_probs_O.dtype(), saved.rows_TKP.dims()));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_logits_TE,
                          workspace.Allocate(saved.logits_TE.dtype(), saved.logits_TE.dims()));
  HETERO_RETURN_IF_ERROR(GatherFromRows(d_probs_O, saved.rows_TKP, d_probs_TKP, stream));
  TensorView d_probs_TK = d_probs_TKP;
  if (const int64_t copies = exchange_.copies(); copies > 1) {
    HETERO_ASSIGN_OR_RETURN(d_probs_TK,
                            workspace.Allocate(d_probs_O.dtype(), saved.experts_TK.dims()));
    const TensorView sum = d_probs_TK.Reshape({d_probs_TK.num_elements(), 1});
    HETERO_RETURN_IF_ERROR(Copy(Copies(d_probs_TKP, copies, 0), sum, stream));
    for (int64_t copy = 1; copy < copies; ++copy) {
      HETERO_RETURN_IF_ERROR(Add(sum, Copies(d_probs_TKP, copies, copy), sum, stream));
    }
  }
  HETERO_RETURN_IF_ERROR(RouterBackward({.logits_TE = saved.logits_TE,
                                         .experts_TK = saved.experts_TK,
                                         .d_probs_TK = d_probs_TK,
                                         .places = saved.places,
                                         .scale = config_.router_scaling,
                                         .normalized = config_.normalize_probabilities,
                                         .aux_counts_BE = saved.aux_counts_BE,
                                         .aux_coefficient = config_.aux_loss_coefficient,
                                         .d_logits_TE = d_logits_TE},
                                        stream));
  // A product's operands have one type: the logits' gradient is rounded like any activation's.
  ConstTensorView dy_TE = d_logits_TE;
  if (router_EH_->value.dtype() != d_logits_TE.dtype()) {
    HETERO_ASSIGN_OR_RETURN(const TensorView rounded_TE,
                            workspace.Allocate(router_EH_->value.dtype(), d_logits_TE.dims()));
    HETERO_RETURN_IF_ERROR(Copy(d_logits_TE, rounded_TE, stream));
    dy_TE = rounded_TE;
  }
  HETERO_RETURN_IF_ERROR(AddWeightGradient(context, dy_TE, saved.normed_TH, *router_EH_));
  return LinearBackwardInput(dy_TE, router_EH_->value, d_normed_TH, /*accumulate=*/true, stream);
}

}  // namespace hetero
