#include "hetero/trainer/config/testing/changed_recipe.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {

proto::RunConfig ChangedRecipe(std::string_view recipe,
                               const std::vector<std::string_view>& assignments) {
  proto::RunConfig config = ParseRunConfig(*FindRecipe(recipe), recipe).value();
  for (const std::string_view assignment : assignments) {
    const absl::Status set = SetField(assignment, config);
    EXPECT_TRUE(set.ok()) << set;
  }
  return config;
}

std::vector<std::string> ViolationTexts(const proto::RunConfig& config) {
  std::vector<std::string> texts;
  for (const Violation& violation : Validate(config, BuiltInModels())) {
    texts.push_back(violation.ToString());
  }
  return texts;
}

}  // namespace hetero
