#include "hetero/trainer/rank_waits.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/step/step_waits.h"

namespace hetero {

std::vector<RankWaits> WaitsOf(const Job& job, std::span<const RankProfile> profiles,
                               std::span<const RankRecord> records) {
  std::vector<RankWaits> waits;
  for (size_t r = 0; r < records.size(); ++r) {
    const RankProfile& profile = profiles[r];
    std::vector<std::string> modules;
    for (const int stage : job.train.StagesOf(*job.layout, GlobalRank(static_cast<int64_t>(r)))) {
      const std::string& module = job.train.stages[stage].module;
      if (std::ranges::find(modules, module) == modules.end()) modules.push_back(module);
    }
    const StepWaits& known = *records[r].waits;
    RankWaits rank{.module = absl::StrJoin(modules, "+"),
                   .num_steps = profile.num_steps,
                   .time = profile.time};
    rank.waits[std::string(kData)] = known.data;
    rank.waits[std::string(kCheckpoints)] = known.checkpoints;
    for (size_t stage = 0; stage < known.stages.size(); ++stage) {
      if (known.stages[stage] == absl::ZeroDuration()) continue;
      rank.waits[job.train.stages[stage].module] += known.stages[stage];
    }
    const absl::Duration unknown = profile.time - *profile.thread_time - rank.waited();
    rank.waits[std::string(kRanks)] = std::max(unknown, absl::ZeroDuration());
    waits.push_back(std::move(rank));
  }
  return waits;
}

}  // namespace hetero
