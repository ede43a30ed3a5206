#ifndef HETERO_COMM_RENDEZVOUS_LAUNCHER_H_
#define HETERO_COMM_RENDEZVOUS_LAUNCHER_H_

// Starts the ranks of a run as processes of this machine and sees to their end.

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace hetero {

struct LaunchOutcome {
  int exit_code = 0;       // of the first process that failed
  std::string failure;     // what that process told; empty: nothing
  std::string first_line;  // of it, with what became of processes that could tell nothing
};

// Runs this program `num_processes` times with `arguments`, its own name first, each with the
// variables of a LaunchPlace, and waits for all. `requested` is asked often: a signal that it
// returns is passed on to all of them. The rendezvous is told of one that failed before it
// came there. Once one has failed the others have a while to end by themselves, 45 seconds, or two
// where one is stopped; nobody outlives this call, nor this process.
// Errors: RESOURCE_EXHAUSTED when a process cannot be made, UNAVAILABLE when nothing can listen.
absl::StatusOr<LaunchOutcome> LaunchProcesses(int64_t num_processes,
                                              std::span<const std::string> arguments,
                                              const std::function<int()>& requested);

// Tells the launcher of this process, at the descriptor LaunchPlace::failures, why it ends.
// `first_line` is the failure, `description` all there is to tell.
void TellLauncher(int descriptor, int exit_code, const std::string& first_line,
                  const std::string& description);

}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_LAUNCHER_H_
