#ifndef HETERO_TRAINER_PREDICTION_H_
#define HETERO_TRAINER_PREDICTION_H_

// What ranks will allocate and which collectives they will call, before they do.

#include <vector>

#include "absl/status/statusor.h"
#include "hetero/comm/connections.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/engine.h"

namespace hetero {

// What a step of `rank` will take, found by running it without data.
struct Prediction {
  EngineMemory arenas;
  MemoryLedger memory;
  CallLedger calls;                    // of one training step, of the largest
  std::vector<CallLedger> of_smaller;  // likewise, by Job::smaller

  // By the size of `step`.
  const CallLedger& CallsOf(const Job& job, int64_t step) const;
  Connections connections;
};

struct PredictOptions {
  bool keeps_everything = false;  // as if there were no selective_recompute
};

// Of one rank of every class of Job::work.
// Errors: INVALID_ARGUMENT when the configuration asks for more memory than there can be; CANCELLED
// after a stop signal.
absl::StatusOr<std::vector<Prediction>> PredictClasses(const Job& job, const StopSignals& signals,
                                                       const PredictOptions& options = {});

// Errors: also INVALID_ARGUMENT when ranks on the CPU need more memory together than the machine or
// the process's control group has.
absl::StatusOr<std::vector<Prediction>> PredictRun(const Job& job, const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_PREDICTION_H_
