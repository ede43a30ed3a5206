#ifndef HETERO_TRAINER_TIMING_CALIBRATION_H_
#define HETERO_TRAINER_TIMING_CALIBRATION_H_

// Measures operations and messages on this machine, for a machine table.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/device.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/timing/fit_rates.h"
#include "hetero/trainer/timing/machine.pb.h"

namespace hetero {

struct OperationTimes {
  std::map<std::string, std::vector<MeasuredTime>> operations;  // by name
  double calls = 0;
  double host_seconds = 0;  // of all calls, outside of operations
};

struct CalibrationOptions {
  int num_steps = 3;    // measured, behind one that is not
  int num_threads = 1;  // do the same at the same time: cores share caches and memory
};

// Trains as the first rank of each class of `job`, alone, for a few steps; what others would send
// is missing and the sums are not right. Adds the times of operations, one entry for each kind of
// operation of each stage, and, where the rank is alone by right, what the host does beside them.
// On a CPU times are the thread's, so that other work on its cores counts for little.
// Errors: those of the run; CANCELLED after a stop signal. Precondition: job.samples is set.
absl::Status MeasureOperations(const Job& job, Device device, const CalibrationOptions& options,
                               const StopSignals& signals, OperationTimes& times);

struct TrafficTimes {
  std::map<std::string, std::vector<MeasuredTime>> kinds;  // bytes sent and seconds of a rank
  double wake_seconds = 0;
};

// Collectives of every kind and messages, of `devices`' ranks, threads of this process, in several
// sizes, `num_calls` each. On a CPU seconds are the thread's, and wake_seconds how long a
// rank that has blocked is on its way. Errors: those of RunRanks.
absl::StatusOr<TrafficTimes> MeasureTraffic(const std::vector<Device>& devices, int num_calls);

// The rows of a table.
void AddRates(const OperationTimes& operations, const TrafficTimes& traffic,
              proto::Machine& machine);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_CALIBRATION_H_
