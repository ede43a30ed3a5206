#ifndef HETERO_TRAINER_CONFIG_OPTIMIZER_SETTINGS_H_
#define HETERO_TRAINER_CONFIG_OPTIMIZER_SETTINGS_H_

// The optimizer's part of a run configuration, in the optimizer's own terms.

#include "absl/status/statusor.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

// Lengths in steps become samples; `modules` has one entry a grid. Errors: those of
// LearningRateSchedule::Make.
// Precondition: `config` is resolved (config.h).
absl::StatusOr<OptimizerSettings> MakeOptimizerSettings(const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_OPTIMIZER_SETTINGS_H_
