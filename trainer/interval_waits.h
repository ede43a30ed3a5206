#ifndef HETERO_TRAINER_INTERVAL_WAITS_H_
#define HETERO_TRAINER_INTERVAL_WAITS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hetero/grid/rank.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/waits.h"
#include "hetero/trainer/step/step_waits.h"

namespace hetero {

// What the ranks of each module on the CPU waited for in the steps since the last report, for tags;
// RankWaits says the same of a whole run.
class IntervalWaits {
 public:
  IntervalWaits(const Job& job, GlobalRank rank);

  // Seconds of a step since the last call, of this rank: as many on every rank, and what Named
  // makes tags of when they are summed over all ranks. `profile` and `known` are those of the run
  // so far. Precondition: some steps were run since.
  std::vector<double> Take(const RankProfile& profile, const StepWaits& known);

  // Means over the ranks of a module: "busy-time language", "data-wait-time language",
  // "radio_encoder-wait-time language", "other-ranks-wait-time language"; those that are not 0.
  std::vector<NamedValue> Named(std::span<const double> sums) const;

 private:
  const Job& job_;
  const GlobalRank rank_;
  std::map<std::string, int64_t> num_ranks_;  // by module, several that share their ranks as one
  std::vector<std::string> causes_;
  RankWaits before_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_INTERVAL_WAITS_H_
