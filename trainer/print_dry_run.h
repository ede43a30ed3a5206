#ifndef HETERO_TRAINER_PRINT_DRY_RUN_H_
#define HETERO_TRAINER_PRINT_DRY_RUN_H_

#include "absl/status/status.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/signals.h"

namespace hetero {

// What --dry_run prints: whether the run can begin with its checkpoint, the plan, what a rank of
// each class needs, what was proved and, for a machine, how long a step takes. With a machine
// job.samples are read.
// Errors: INVALID_ARGUMENT a checkpoint that does not fit; those of CheckLoad, PredictClasses,
// LoadMachine and ForecastStep; CANCELLED after a stop signal.
absl::Status PrintDryRun(const RunOptions& options, Job& job, Console& console,
                         const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_PRINT_DRY_RUN_H_
