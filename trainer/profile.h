#ifndef HETERO_TRAINER_PROFILE_H_
#define HETERO_TRAINER_PROFILE_H_

// Tables for people: where the time of a run went, and what a step will take.

#include <cstdint>
#include <span>
#include <string>

#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/memory.h"

namespace hetero {

// Of one rank, over all training steps of the run.
struct RankProfile {
  absl::Duration wall_time;
  absl::Duration thread_time;  // processor time of the rank's thread
  CallLedger calls;
};

// One row an operation, most time first: milliseconds a step over all ranks, its share, GFLOP/s and
// GB/s while it ran. The last rows are what the rank's thread did outside operations, and waiting:
// for other ranks, for data, for a core.
std::string DescribeProfile(std::span<const RankProfile> ranks, int64_t num_steps);

// Memory by label, floating-point operations of a step by kind, and its collectives.
std::string DescribePrediction(int64_t rank, const MemoryLedger& memory, const CallLedger& calls);

}  // namespace hetero

#endif  // HETERO_TRAINER_PROFILE_H_
