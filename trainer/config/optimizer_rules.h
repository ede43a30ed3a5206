#ifndef HETERO_TRAINER_CONFIG_OPTIMIZER_RULES_H_
#define HETERO_TRAINER_CONFIG_OPTIMIZER_RULES_H_

// What the fields of the optimizer require of each other and of the model.

#include <span>
#include <string>

#include "hetero/base/violation.h"
#include "hetero/optim/weight_decay.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Weight decay over the samples of the run. Precondition: the fields are sound.
WeightDecayOptions WeightDecaySettingsOf(const proto::RunConfig& config);

// Adds what the fields of the optimizer break together, judging those that are sound in
// `violations`.
void CheckOptimizer(const proto::RunConfig& config, Violations& violations);

// Adds each element of per_module that is of none of `modules`, all that the model has, or of that
// of an earlier one.
void CheckOptimizerModules(const proto::RunConfig& config, std::span<const std::string> modules,
                           Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_OPTIMIZER_RULES_H_
