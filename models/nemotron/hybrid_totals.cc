// What a stage of the language model counted, in the totals of its rank.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Adds what the host has counted to each of `totals`, f64.
absl::Status AddCount(int64_t count, const TensorView& totals, Stream& stream) {
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView counted,
                          stream.workspace().Allocate(DType::kF64, totals.dims()));
  HETERO_RETURN_IF_ERROR(Fill(static_cast<double>(count), counted, stream));
  return Add(totals, counted, totals, stream);
}

}  // namespace

absl::Status HybridStage::TakeTotals(const TensorView& totals, Stream& stream) {
  ArenaScope scope(stream.workspace());
  const auto add = [&](int first, const ConstTensorView& sums) -> absl::Status {
    const int64_t count = sums.dim(0);
    HETERO_ASSIGN_OR_RETURN(const TensorView converted,
                            stream.workspace().Allocate(DType::kF64, {count}));
    HETERO_RETURN_IF_ERROR(Copy(sums, converted, stream));
    const TensorView to = totals.Rows(first, count);
    return Add(to, converted, to, stream);
  };
  HETERO_RETURN_IF_ERROR(add(kStageLossSum, totals_.loss_2));
  HETERO_RETURN_IF_ERROR(add(kStageSequences, totals_.matches_2));
  HETERO_RETURN_IF_ERROR(add(kStageInvalidIds, totals_.invalid_ids_1));
  const int64_t num_moe = balance_loss_L_.dim(0);
  for (int64_t layer = 0; layer < num_moe; ++layer) {
    HETERO_RETURN_IF_ERROR(add(kStageBalanceLoss, balance_loss_L_.Rows(layer, 1)));
  }
  const int64_t balance_tokens = std::exchange(balance_tokens_, 0);
  if (num_moe > 0) {
    HETERO_RETURN_IF_ERROR(add(balance_loss_total_, balance_loss_L_));
    HETERO_RETURN_IF_ERROR(
        AddCount(balance_tokens / num_moe, totals.Rows(balance_tokens_total_, num_moe), stream));
  }
  for (const TensorView& sums :
       {totals_.loss_2, totals_.matches_2, totals_.invalid_ids_1, balance_loss_L_}) {
    HETERO_RETURN_IF_ERROR(Fill(0, sums, stream));
  }
  HETERO_RETURN_IF_ERROR(AddCount(balance_tokens, totals.Rows(kStageBalanceTokens, 1), stream));
  return TakeExchanges(totals, stream);
}

absl::Status HybridStage::TakeExchanges(const TensorView& totals, Stream& stream) {
  const std::vector<ExchangeCounts> taken = exchanges_;
  std::ranges::fill(exchanges_, ExchangeCounts());
  ExchangeCounts all;
  for (const ExchangeCounts& of_layer : taken) {
    all.exchanges += of_layer.exchanges;
    all.rounds += of_layer.rounds;
  }
  exceeded_prediction_ |= all.rounds > all.exchanges;
  if (!tells_exchanges_ || all.exchanges == 0) return absl::OkStatus();
  const auto add = [&](int64_t first, int64_t count, int64_t value) {
    return AddCount(value, totals.Rows(first, count), stream);
  };
  HETERO_RETURN_IF_ERROR(add(kStageExpertExchanges, 1, all.exchanges));
  HETERO_RETURN_IF_ERROR(add(kStageExpertRounds, 1, all.rounds));
  // All layers exchange as often, nearly always in as many rounds.
  const int64_t each = taken.front().exchanges;
  HETERO_RETURN_IF_ERROR(add(exchanges_total_, 2 * std::ssize(taken), each));
  for (size_t i = 0; i < taken.size(); ++i) {
    if (taken[i].rounds == each) continue;
    HETERO_RETURN_IF_ERROR(add(exchanges_total_ + 2 * i + 1, 1, taken[i].rounds - each));
  }
  return absl::OkStatus();
}

}  // namespace hetero
