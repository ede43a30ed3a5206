#ifndef HETERO_TRAINER_CONFIG_BALANCE_RULES_H_
#define HETERO_TRAINER_CONFIG_BALANCE_RULES_H_

// Whether what a configuration wants balanced can be.

#include <vector>

#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A violation where images are to be balanced and the model reads none, or where its encoder has
// one lane alone. A grid that is broken on its own is passed over. Pure.
std::vector<Violation> CheckBalance(const proto::RunConfig& config, const ModelGraph& graph);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_BALANCE_RULES_H_
