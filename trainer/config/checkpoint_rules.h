#ifndef HETERO_TRAINER_CONFIG_CHECKPOINT_RULES_H_
#define HETERO_TRAINER_CONFIG_CHECKPOINT_RULES_H_

#include "hetero/base/violation.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Adds what the fields of `checkpoint` break together or with the rest of the configuration.
void CheckCheckpoint(const proto::RunConfig& config, Violations& violations);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_CHECKPOINT_RULES_H_
