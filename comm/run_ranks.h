#ifndef HETERO_COMM_RUN_RANKS_H_
#define HETERO_COMM_RUN_RANKS_H_

// Runs the ranks of a job as threads of this process.
//
//   absl::Status status = RunRanks(4, [&](GlobalRank rank, CommunicatorFactory& factory) {
//     return TrainOneRank(rank, factory);
//   });

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/device.h"

namespace hetero {

// What carries tensors between ranks: comm/threads or comm/nccl.
enum class RankBackend : uint8_t { kThreads, kNccl };

struct RunRanksOptions {
  // How long one wait for peers may take before the run is aborted with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::Minutes(5);
  RankBackend backend = RankBackend::kThreads;
  // Of every rank; kThreads needs none: there each call tells by its stream.
  std::vector<Device> devices = {};
  // Called at most once, on the thread of RunRanks, when the run was aborted and `ranks` have not
  // come back for `timeout`, at most half a minute. Something that no abort reaches holds them,
  // such as a library that never returns, and nobody can end their threads from outside. `failure`
  // is what RunRanks would return, with those ranks named in kOtherRanksPayload. A program that
  // does not want to wait ends its process here, at once and without destructors (std::_Exit), as
  // these threads still use what RunRanks was given. After its return, or without it, RunRanks
  // waits.
  std::function<void(const absl::Status& failure, std::span<const GlobalRank> ranks)> on_stuck = {};
};

// Payload of the status of RunRanks: one line for every further rank that failed.
inline constexpr std::string_view kOtherRanksPayload = "hetero/other_ranks";

// Payload of the same: the last calls of every rank, with those that were in flight or failed.
inline constexpr std::string_view kLastCallsPayload = "hetero/last_calls";

// Payload of the same: what ToJson (flight.h) makes of each rank of this process, a line each.
inline constexpr std::string_view kFlightsPayload = "hetero/flights";

// Calls `function` once per rank, each on a thread of its own, and joins them. A rank that fails
// aborts all communicators, so the others' calls fail within moments; `function` returns then.
// Returns OK when every rank did, else the first failure of the run, "rank 2: ...", with those of
// the other ranks and the calls of all as payloads. An exception that leaves `function` is a
// failure as by CatchExceptions, a thread that cannot be made one of its rank (RESOURCE_EXHAUSTED).
// Returns only when no thread uses `function` any more; see on_stuck for one that never ends.
// Errors before a rank runs: those of CreateNcclWorld. Precondition: kNccl has `num_ranks` devices.
absl::Status RunRanks(int64_t num_ranks,
                      absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                      const RunRanksOptions& options = {});

// Calls `body`; if it fails or throws, aborts the run before it returns. To give back memory of a
// GPU is to wait for all its work, which over NCCL may wait for peers: what a rank has there stands
// outside of `body`, so that nothing waits any more when it is given back.
absl::Status AbortOnFailure(GlobalRank rank, CommunicatorFactory& factory,
                            absl::FunctionRef<absl::Status()> body);

}  // namespace hetero

#endif  // HETERO_COMM_RUN_RANKS_H_
