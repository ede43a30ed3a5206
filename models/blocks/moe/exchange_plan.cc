#include "hetero/models/blocks/moe/exchange_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "hetero/base/rounding.h"

namespace hetero {

ExchangePlan::ExchangePlan(int64_t rank, std::vector<int64_t> rows_GG,
                           std::vector<int64_t> bounds_G)
    : rank_(rank), rows_GG_(std::move(rows_GG)), bounds_G_(std::move(bounds_G)) {
  for (int64_t d = 0; d < size(); ++d) {
    int64_t rows = 0;
    for (int64_t s = 0; s < size(); ++s) rows += rows_GG_[s * size() + d];
    num_rounds_ = std::max(num_rounds_, CeilDiv(rows, bounds_G_[d]));
  }
}

ExchangePlan ExchangePlan::Make(std::span<const int32_t> table_GE1, int64_t size, int64_t rank,
                                int64_t experts_of_rank, int64_t copies) {
  const int64_t num_columns = static_cast<int64_t>(table_GE1.size()) / size;
  std::vector<int64_t> rows_GG, bounds_G;
  for (int64_t s = 0; s < size; ++s) {
    const std::span<const int32_t> counts = table_GE1.subspan(s * num_columns, num_columns);
    for (int64_t d = 0; d < size; ++d) {
      const auto begin = counts.begin() + d / copies * experts_of_rank;
      rows_GG.push_back(std::accumulate(begin, begin + experts_of_rank, int64_t{0}));
    }
    bounds_G.push_back(counts.back());
  }
  return ExchangePlan(rank, std::move(rows_GG), std::move(bounds_G));
}

ExchangePlan ExchangePlan::Even(int64_t size, int64_t rank, int64_t own_rows, int64_t bound) {
  const int64_t rows = std::min(own_rows, bound) / size;
  return ExchangePlan(rank, std::vector<int64_t>(size * size, rows),
                      std::vector<int64_t>(size, bound));
}

IndexRange ExchangePlan::InRound(int64_t index, int64_t source, int64_t destination) const {
  int64_t before = 0;
  for (int64_t s = 0; s < source; ++s) before += rows_GG_[s * size() + destination];
  const int64_t rows = rows_GG_[source * size() + destination];
  const int64_t bound = bounds_G_[destination];
  const int64_t begin = std::clamp(index * bound - before, int64_t{0}, rows);
  return {.first = begin,
          .count = std::clamp((index + 1) * bound - before, int64_t{0}, rows) - begin};
}

ExchangeRound ExchangePlan::Round(int64_t index) const {
  ExchangeRound round{.first_arrived = index * bounds_G_[rank_]};
  int64_t own = 0;
  for (int64_t g = 0; g < size(); ++g) {
    IndexRange range = InRound(index, rank_, g);
    range.first += own;
    round.own.push_back(range);
    own += rows_GG_[rank_ * size() + g];
    const int64_t count = InRound(index, g, rank_).count;
    round.arrived.push_back({.first = round.num_arrived, .count = count});
    round.num_arrived += count;
  }
  return round;
}

}  // namespace hetero
