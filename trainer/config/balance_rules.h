#ifndef HETERO_TRAINER_CONFIG_BALANCE_RULES_H_
#define HETERO_TRAINER_CONFIG_BALANCE_RULES_H_

// Whether what a configuration wants balanced can be.

#include <string_view>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A violation where images are to be balanced and the model reads none, or where its encoder has
// one lane alone; where rows of the language model are and each is one sample, or where a step has
// one microbatch. A grid that is broken on its own is passed over. Pure.
std::vector<Violation> CheckBalance(const proto::RunConfig& config, const ModelGraph& graph,
                                    std::string_view sample_owner);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_BALANCE_RULES_H_
