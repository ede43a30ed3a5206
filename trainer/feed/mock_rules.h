#ifndef HETERO_TRAINER_FEED_MOCK_RULES_H_
#define HETERO_TRAINER_FEED_MOCK_RULES_H_

#include "hetero/trainer/feed/data_violations.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero::internal {

// Every rule between mock data and the model. Precondition: the data of `config` are mock data.
void CheckMock(const proto::RunConfig& config, const InputContract& contract,
               DataViolations& violations);

}  // namespace hetero::internal

#endif  // HETERO_TRAINER_FEED_MOCK_RULES_H_
