#ifndef HETERO_TRAINER_RUN_PREPARATION_H_
#define HETERO_TRAINER_RUN_PREPARATION_H_

// What the processes of a run have alike, and have ready, before its files are opened and its ranks
// begin. Collective over the team.

#include <filesystem>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/team.h"

namespace hetero {

// Before anything is prepared. Errors: those of Team::Agree.
absl::Status AgreeOnJob(const Job& job, Team& team);

// Sets the devices and samples of `job`, finds the checkpoints, null where none are saved or
// loaded, and says what begins. `trace`: where one is to be written; empty: nowhere.
// Errors: those of devices, samples, checkpoints and of files that could not be written later, each
// before anything is; CANCELLED after a stop signal.
absl::StatusOr<std::unique_ptr<RunCheckpoints>> PrepareRun(const RunOptions& options,
                                                           const std::filesystem::path& trace,
                                                           Job& job, Team& team, Console& console,
                                                           const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_PREPARATION_H_
