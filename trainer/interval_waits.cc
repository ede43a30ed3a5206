#include "hetero/trainer/interval_waits.h"

#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "hetero/trainer/run_profile.h"

namespace hetero {

IntervalWaits::IntervalWaits(const Job& job, GlobalRank rank) : job_(job), rank_(rank) {
  for (int64_t r = 0; r < job.layout->world_size(); ++r)
    ++num_ranks_[ModulesOf(job, GlobalRank(r))];
  causes_ = job.model->graph().ModuleNames();
  for (const std::string_view cause : {kData, kCheckpoints, kRanks}) causes_.emplace_back(cause);
}

std::vector<double> IntervalWaits::Take(const RankProfile& profile, const StepWaits& known) {
  const RankWaits now = WaitsOf(job_, rank_, profile, known);
  const auto steps = static_cast<double>(now.num_steps - before_.num_steps);
  const auto seconds = [&](absl::Duration time) { return absl::ToDoubleSeconds(time) / steps; };
  std::vector<double> values;
  for (const auto& [module, num_ranks] : num_ranks_) {
    const bool own = module == now.module;
    values.push_back(own ? seconds(now.busy() - before_.busy()) : 0);
    for (const std::string& cause : causes_) {
      const auto of = [&](const RankWaits& waits) {
        const auto time = waits.waits.find(cause);
        return time == waits.waits.end() ? absl::ZeroDuration() : time->second;
      };
      values.push_back(own ? seconds(of(now) - of(before_)) : 0);
    }
  }
  before_ = now;
  return values;
}

std::vector<NamedValue> IntervalWaits::Named(std::span<const double> sums) const {
  std::vector<NamedValue> named;
  size_t next = 0;
  const auto add = [&](std::string name, int64_t num_ranks) {
    const double mean = sums[next++] / static_cast<double>(num_ranks);
    if (mean != 0) named.push_back({std::move(name), mean});
  };
  for (const auto& [module, num_ranks] : num_ranks_) {
    add(absl::StrCat("busy-time ", module), num_ranks);
    for (const std::string& cause : causes_) {
      const std::string of = absl::StrReplaceAll(cause, {{" ", "-"}});
      add(absl::StrCat(of, "-wait-time ", module), num_ranks);
    }
  }
  return named;
}

}  // namespace hetero
