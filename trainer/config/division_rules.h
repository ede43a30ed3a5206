#ifndef HETERO_TRAINER_CONFIG_DIVISION_RULES_H_
#define HETERO_TRAINER_CONFIG_DIVISION_RULES_H_

// Whether a module divides into the parts that its grid asks for.

#include <string_view>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A violation for each of tp, ep and expt_tp that the parameters of `module` do not divide by, by
// what its table says. Grids that are broken on their own are passed over. Pure.
std::vector<Violation> CheckDivisions(const proto::RunConfig& config, const Model& model,
                                      std::string_view module);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_DIVISION_RULES_H_
