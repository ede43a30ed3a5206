#ifndef HETERO_TRAINER_REPORT_WAITS_H_
#define HETERO_TRAINER_REPORT_WAITS_H_

// What ranks waited for in their steps, and what the verdict on the layout is.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace hetero {

// Of one rank over `num_steps` steps. What it does not wait for it is busy with.
struct RankWaits {
  std::string module;  // whose stages it holds; "a+b" of several
  int64_t num_steps = 0;
  absl::Duration time;  // of the steps
  // By what it waited for: kData, kCheckpoints, kRanks, or a module whose rows or gradients they
  // were, its own when they came from another stage.
  std::map<std::string, absl::Duration, std::less<>> waits;

  absl::Duration waited() const;
  absl::Duration busy() const { return time - waited(); }
};

inline constexpr std::string_view kData = "data";
inline constexpr std::string_view kCheckpoints = "checkpoints";
// Collectives, agreements between steps, and on the CPU a core.
inline constexpr std::string_view kRanks = "other ranks";

// A row for each module, the mean of its ranks: milliseconds of a step in which it is busy, and
// percent of the step that each cause takes; of all causes together also the rank that waits most.
// Then one line, the verdict. With busy(m) the first number, s the module where it is largest and f
// `owner`, the module that owns the samples, or the one with the second largest where s is the
// owner, it is the first of these that holds:
//   1. the longest wait of the ranks of s is for data or checkpoints and takes 2 % or more:
//      "data is too slow: …" or "checkpoints hold the steps up: …".
//   2. busy(s) is p >= 5 % above busy(f), and the ranks of f wait 2 % or more: "the radio_encoder
//      grid is 18 % too small: …". With p % more ranks s would be as fast as f.
//   3. some wait takes 2 % or more at some module: "no grid is too small; the longest wait …".
//   4. "nothing is waited for".
// Modules on the same ranks are one, so that 2 does not hold. Precondition: steps were run.
std::string DescribeWaits(std::span<const RankWaits> ranks, std::string_view owner);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_WAITS_H_
