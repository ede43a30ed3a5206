#include "hetero/trainer/config/launch.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/grid/view.h"

namespace hetero {

absl::StatusOr<int64_t> ParseLaunch(std::string_view launch) {
  std::string_view count = launch;
  int64_t num_ranks = 0;
  if ((absl::ConsumePrefix(&count, kThreadsLaunch) ||
       absl::ConsumePrefix(&count, kProcessesLaunch)) &&
      absl::SimpleAtoi(count, &num_ranks) && num_ranks >= 1 && num_ranks <= kMaxRanks) {
    return num_ranks;
  }
  return absl::InvalidArgumentError(absl::StrCat("launch is '", launch, "', must be ",
                                                 kThreadsLaunch, "N or ", kProcessesLaunch,
                                                 "N with N from 1 to ", kMaxRanks));
}

bool AreProcesses(std::string_view launch) { return absl::StartsWith(launch, kProcessesLaunch); }

std::string ProcessesLaunch(int64_t num_ranks) { return absl::StrCat(kProcessesLaunch, num_ranks); }

}  // namespace hetero
