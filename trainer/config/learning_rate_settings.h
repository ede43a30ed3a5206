#ifndef HETERO_TRAINER_CONFIG_LEARNING_RATE_SETTINGS_H_
#define HETERO_TRAINER_CONFIG_LEARNING_RATE_SETTINGS_H_

// The learning rate's part of a run configuration, in the optimizer's terms. A configuration gives
// all its lengths in one unit, steps or samples; they keep it in messages.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

struct LearningRateSettings {
  std::string_view unit;        // "steps" or "samples"
  LearningRateOptions options;  // lengths in `unit`
  // Where a run is too short for what is configured, what it does instead, one sentence each.
  std::vector<std::string> changes;
};

// Decay ends with the run unless it has an end of its own; then warm-up, and after it the tail, are
// cut to what the run has room for. Precondition: CheckLearningRate finds nothing.
LearningRateSettings LearningRateSettingsOf(const proto::RunConfig& config);

// Adds what the schedule breaks with itself and with the length of the run, judging fields that are
// sound in `violations`.
void CheckLearningRate(const proto::RunConfig& config, Violations& violations);

// Lengths of `settings` in samples. Precondition: as LearningRateSettingsOf.
LearningRateOptions InSamples(const LearningRateSettings& settings,
                              const data::BatchSchedule& batches);

// `schedule` with the lengths of `settings` written out.
void SetLengths(const LearningRateSettings& settings, proto::LearningRateSchedule& schedule);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_LEARNING_RATE_SETTINGS_H_
