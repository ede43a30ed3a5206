#ifndef HETERO_TRAINER_CONFIG_TESTING_CHANGED_RECIPE_H_
#define HETERO_TRAINER_CONFIG_TESTING_CHANGED_RECIPE_H_

// Configurations for tests of rules: recipes with fields changed, and what is said about them.

#include <string>
#include <string_view>
#include <vector>

#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// The recipe with fields changed as by --set. An assignment that is wrong fails the test.
proto::RunConfig ChangedRecipe(std::string_view recipe,
                               const std::vector<std::string_view>& assignments);

// What Validate() finds in `config`, with the models that this program has: each violation with
// its corrections.
std::vector<std::string> ViolationTexts(const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_TESTING_CHANGED_RECIPE_H_
