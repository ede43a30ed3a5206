#include "hetero/data/balance/rows_by_cost.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>

namespace hetero::data {
namespace {

// Ranks of a process share a sequence, and read ahead.
constexpr size_t kKeptSteps = 8;

}  // namespace

std::vector<int64_t> AttentionCosts(const RowTable& rows, int64_t length) {
  std::vector<int64_t> costs;
  costs.reserve(static_cast<size_t>(rows.num_rows()));
  for (int64_t i = 0; i < rows.num_rows(); ++i) {
    const std::span<const RowSample> row = rows[i];
    int64_t rest = length;
    int64_t cost = 0;
    for (size_t s = 0; row.size() > 1 && s < row.size(); ++s) {
      const int64_t segment = row[s].length.value_or(rest);
      cost += segment * segment;
      rest -= segment;
    }
    costs.push_back(cost + rest * rest);
  }
  return costs;
}

int64_t RowsByCost::IndexAt(int64_t global_index) {
  const int64_t step = layout_.StepOf(global_index);
  return (*RowsOf(step))[static_cast<size_t>(global_index - layout_.FirstSample(step))];
}

std::shared_ptr<const RowsByCost::Rows> RowsByCost::RowsOf(int64_t step) {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [kept_step, rows] : kept_) {
    if (kept_step == step) return rows;
  }
  auto rows = std::make_shared<const Rows>(Sort(step));
  kept_.emplace_back(step, rows);
  if (kept_.size() > kKeptSteps) kept_.pop_front();
  return rows;
}

RowsByCost::Rows RowsByCost::Sort(int64_t step) const {
  Rows rows(static_cast<size_t>(layout_.SizeOf(step)));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = *order_.DatasetIndex(layout_.FirstSample(step) + static_cast<int64_t>(i));
  }
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
    return costs_[static_cast<size_t>(a)] > costs_[static_cast<size_t>(b)];
  });
  const auto microbatch = layout_.samples_per_microbatch;
  for (auto begin = rows.begin() + microbatch; begin < rows.end(); begin += 2 * microbatch) {
    std::reverse(begin, begin + microbatch);
  }
  return rows;
}

}  // namespace hetero::data
