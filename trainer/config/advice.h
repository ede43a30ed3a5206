#ifndef HETERO_TRAINER_CONFIG_ADVICE_H_
#define HETERO_TRAINER_CONFIG_ADVICE_H_

// Advice that is whole: whoever follows it is not told of the next broken rule.

#include <vector>

#include "absl/functional/function_ref.h"
#include "hetero/base/violation.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// All rules that a configuration breaks. Pure.
using Validator = absl::FunctionRef<std::vector<Violation>(const proto::RunConfig&)>;

// What `validate` finds in `config`, with whole advice. A correction mends its own rule, and a size
// so changed may break others: of 11 ranks instead of 4 the batch is no multiple. Each correction
// has the fewest further assignments with which nothing is broken that is not reported as well; one
// for which there are none is left out where another is left. A violation that follows from an
// earlier one, so that its advice is void once that of the earlier one is taken, is part of the
// earlier one's corrections and not reported beside it.
std::vector<Violation> FindWithWholeAdvice(const proto::RunConfig& config, Validator validate);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_ADVICE_H_
