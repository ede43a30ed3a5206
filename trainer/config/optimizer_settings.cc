#include "hetero/trainer/config/optimizer_settings.h"

#include "hetero/base/status.h"
#include "hetero/optim/config/from_proto.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/trainer/config/learning_rate_settings.h"

namespace hetero {

absl::StatusOr<OptimizerSettings> MakeOptimizerSettings(const proto::RunConfig& config) {
  HETERO_ASSIGN_OR_RETURN(const LearningRateSchedule rate,
                          LearningRateSchedule::Make(InSamples(LearningRateSettingsOf(config),
                                                               config.global_batch_size())));
  return OptimizerSettings{.adamw = FromProto(config.optimizer().adamw()),
                           .clip_gradient_norm = config.optimizer().clip_gradient_norm(),
                           .schedule = rate};
}

}  // namespace hetero
