#ifndef HETERO_TRAINER_REPORT_PROFILE_H_
#define HETERO_TRAINER_REPORT_PROFILE_H_

// Tables for people: where the time of a run went.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"

namespace hetero {

// By name.
using Operations = std::map<std::string_view, OperationTotals>;

Operations OperationsOf(const CallLedger& calls);
Operations SumOf(std::span<const CallLedger> ledgers);

// Of one rank, over `num_steps` training steps: all of the run on the CPU, the sampled ones of a
// GPU.
struct RankProfile {
  int64_t num_steps = 0;
  absl::Duration time;  // of the steps: wall time on the CPU, else the device's
  // Processor time of the rank's thread; none where operations run on a device of their own.
  std::optional<absl::Duration> thread_time;
  Operations operations;
  Operations beside;        // of a GPU: what its other queues did at the same time
  int64_t num_untimed = 0;  // calls whose time is missing
};

// Of a rank on the CPU: what its thread does and takes between Start and Stop, over as many
// stretches as there are. What lies between them, evaluations and all that comes before training,
// is no part of a step.
class TrainingAccount {
 public:
  // `calls`: the ledger of the rank's stream, whose time is the processor time of its thread.
  void Start(const CallLedger& calls);
  void Stop(const CallLedger& calls);

  // Of the stretches that ended, by the clock on the wall.
  absl::Duration time() const { return time_; }

  RankProfile Profile(int64_t num_steps) const;

 private:
  absl::Time start_;
  absl::Duration thread_start_;
  Operations before_;  // at the start
  absl::Duration time_;
  absl::Duration thread_time_;
  Operations operations_;
};

// One row an operation, most time first: milliseconds a step over all ranks, its share, GFLOP/s and
// GB/s while it ran. The last rows of a CPU are what the rank's thread did outside operations, and
// waiting: for other ranks, for data, for a core. A GPU's rows "wait for …" are communication that
// no work hides; below the sum stands what ran beside. It is outside operations while it waits for
// data or the host.
std::string DescribeProfile(std::span<const RankProfile> ranks);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_PROFILE_H_
