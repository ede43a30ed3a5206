#include "hetero/trainer/optimizer_settings.h"

#include "hetero/base/status.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/trainer/learning_rate_settings.h"

namespace hetero {

absl::StatusOr<OptimizerSettings> MakeOptimizerSettings(const proto::RunConfig& config) {
  HETERO_ASSIGN_OR_RETURN(const LearningRateSchedule rate,
                          LearningRateSchedule::Make(InSamples(LearningRateSettingsOf(config),
                                                               config.global_batch_size())));
  const proto::AdamW& adamw = config.optimizer().adamw();
  return OptimizerSettings{.adamw = {.beta1 = adamw.beta1(),
                                     .beta2 = adamw.beta2(),
                                     .epsilon = adamw.epsilon(),
                                     .weight_decay = adamw.weight_decay()},
                           .clip_gradient_norm = config.optimizer().clip_gradient_norm(),
                           .schedule = rate};
}

}  // namespace hetero
