#ifndef HETERO_TRAINER_PROFILE_H_
#define HETERO_TRAINER_PROFILE_H_

// Tables for people: where the time of a run went, and what a step will take.

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/memory.h"

namespace hetero {

// Of one rank, over `num_steps` training steps: all of the run on the CPU, the sampled ones of a
// GPU.
struct RankProfile {
  int64_t num_steps = 0;
  absl::Duration time;  // of the steps: wall time on the CPU, else the device's
  // Processor time of the rank's thread; none where operations run on a device of their own.
  std::optional<absl::Duration> thread_time;
  CallLedger calls;
  int64_t num_untimed = 0;  // operations that `calls` lacks
};

// One row an operation, most time first: milliseconds a step over all ranks, its share, GFLOP/s and
// GB/s while it ran. The last rows of a CPU are what the rank's thread did outside operations, and
// waiting: for other ranks, for data, for a core. A GPU is outside operations while it communicates
// and while it waits for ranks, data or the host.
std::string DescribeProfile(std::span<const RankProfile> ranks);

// Memory by label, floating-point operations of a step by kind, and its collectives.
std::string DescribePrediction(int64_t rank, const MemoryLedger& memory, const CallLedger& calls);

}  // namespace hetero

#endif  // HETERO_TRAINER_PROFILE_H_
