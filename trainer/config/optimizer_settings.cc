#include "hetero/trainer/config/optimizer_settings.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "hetero/base/status.h"
#include "hetero/optim/config/from_proto.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_options.h"
#include "hetero/optim/weight_decay.h"
#include "hetero/trainer/config/batch_schedule.h"
#include "hetero/trainer/config/learning_rate_settings.h"
#include "hetero/trainer/config/optimizer_rules.h"

namespace hetero {

absl::StatusOr<OptimizerSettings> MakeOptimizerSettings(const proto::RunConfig& config) {
  HETERO_ASSIGN_OR_RETURN(const LearningRateSchedule rate,
                          LearningRateSchedule::Make(
                              InSamples(LearningRateSettingsOf(config), BatchScheduleOf(config))));
  HETERO_ASSIGN_OR_RETURN(const WeightDecaySchedule weight_decay,
                          WeightDecaySchedule::Make(WeightDecaySettingsOf(config)));
  const proto::Optimizer& optimizer = config.optimizer();
  absl::flat_hash_map<std::string, ModuleOptimizerOptions> modules;
  for (const proto::GridSpec& grid : config.grids()) {
    modules[grid.name()] = ModuleOptionsOf(optimizer, grid.name());
  }
  return OptimizerSettings{
      .modules = std::move(modules),
      .clip_gradient_norm = optimizer.clip_gradient_norm(),
      .schedule = rate,
      .weight_decay = weight_decay,
      .correct_partial_participation = optimizer.correct_partial_participation(),
      .parameters_norm = config.logging().params_norm()};
}

}  // namespace hetero
