#ifndef HETERO_TRAINER_PREDICTION_H_
#define HETERO_TRAINER_PREDICTION_H_

// What ranks will allocate and which collectives they will call, before they do.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/connections.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/memory_limit.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/engine.h"

namespace hetero {

// What a step of `rank` will take, found by running it without data.
struct Prediction {
  EngineMemory arenas;
  MemoryLedger memory;
  int64_t save_bytes = 0;              // of host staging that checkpoints take beside `memory`
  CallLedger calls;                    // of one training step, of the largest
  std::vector<CallLedger> of_smaller;  // likewise, by Job::smaller

  // By the size of `step`.
  const CallLedger& CallsOf(const Job& job, int64_t step) const;
  Connections connections;
};

struct PredictOptions {
  bool keeps_everything = false;  // as if there were no selective_recompute
};

// Whether the host has the memory that ranks need on it. Of ranks that are processes with GPUs each
// looks at its own need alone: where the others are is not known.
// Errors: INVALID_ARGUMENT naming the fields that would need less; checkpoint.save.host_bytes, with
// its largest value, where all but what checkpoints take fits.
absl::Status CheckHostMemory(const Job& job, std::span<const Prediction> predictions,
                             const MemoryLimit& limit);

// Of one rank of every class of Job::work.
// Errors: INVALID_ARGUMENT when the configuration asks for more memory than there can be; CANCELLED
// after a stop signal.
absl::StatusOr<std::vector<Prediction>> PredictClasses(const Job& job, const StopSignals& signals,
                                                       const PredictOptions& options = {});

// Errors: also those of CheckHostMemory, of the machine and the process's control group.
absl::StatusOr<std::vector<Prediction>> PredictRun(const Job& job, const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_PREDICTION_H_
