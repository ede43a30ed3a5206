#ifndef HETERO_COMM_RENDEZVOUS_LAUNCH_PLACE_H_
#define HETERO_COMM_RENDEZVOUS_LAUNCH_PLACE_H_

// What a launcher tells a process of its place in a run, by variables of the environment.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/grid/rank.h"

namespace hetero {

struct LaunchPlace {
  std::string launcher;  // whose variables these are: "torchrun"
  GlobalRank rank;
  int64_t world_size = 0;
  int64_t local_rank = 0;  // on its machine
  std::string host = {};   // of the rendezvous, which the first rank holds
  int port = 0;
  // Descriptors that LaunchProcesses hands to its children; -1: none.
  int listening = -1;  // of the first rank
  int failures = -1;   // where a failure is told instead of on standard error
  // LaunchProcesses has the rendezvous listen before it starts anybody.
  bool is_listening = false;
};

using GetVariable = std::function<std::optional<std::string>(const char* name)>;

// Of the process's own environment.
std::optional<std::string> EnvironmentVariable(const char* name);

// The first complete set of LaunchProcesses, torchrun, Slurm (srun), Open MPI (mpirun) and PMI;
// nothing when there is none or a set tells of one process only. The last three tell of no address:
// it is MASTER_ADDR and MASTER_PORT where they are set, else the first host of Slurm's list or this
// machine, and a port that follows from the job.
// Errors: INVALID_ARGUMENT naming what is missing of a set, or what is no number.
absl::StatusOr<std::optional<LaunchPlace>> FindLaunchPlace(
    const GetVariable& get = EnvironmentVariable);

// "n[03-05,7],m1" -> "n03".
std::string FirstHost(std::string_view slurm_list);

namespace internal {

// Between LaunchProcesses and its children.
inline constexpr char kRankVariable[] = "HETERO_RANK";
inline constexpr char kWorldSizeVariable[] = "HETERO_WORLD_SIZE";
inline constexpr char kLocalRankVariable[] = "HETERO_LOCAL_RANK";
inline constexpr char kRendezvousVariable[] = "HETERO_RENDEZVOUS";
inline constexpr char kListeningVariable[] = "HETERO_RENDEZVOUS_DESCRIPTOR";
inline constexpr char kFailuresVariable[] = "HETERO_FAILURES_DESCRIPTOR";

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_LAUNCH_PLACE_H_
