#ifndef HETERO_TRAINER_CONFIG_LAUNCH_H_
#define HETERO_TRAINER_CONFIG_LAUNCH_H_

// RunConfig.launch: how many ranks there are, and what each of them is.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hetero {

// What stands before the number of ranks.
inline constexpr std::string_view kThreadsLaunch = "threads:";
inline constexpr std::string_view kProcessesLaunch = "processes:";

// Ranks that a launch starts.
// Errors: INVALID_ARGUMENT unless `launch` is "threads:N" or "processes:N", N from 1 to kMaxRanks.
absl::StatusOr<int64_t> ParseLaunch(std::string_view launch);

// Whether that launch is one of processes, and one of so many.
bool AreProcesses(std::string_view launch);
std::string ProcessesLaunch(int64_t num_ranks);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_LAUNCH_H_
