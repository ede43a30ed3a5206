// Layers with more rows for a rank than it takes at once are told by their numbers.

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Of a step of a model whose layers 1 and 4 have their experts on two ranks.
struct Rounds {
  std::vector<LossSum> of_layers;
  double of_all = 0;
};

RecipeRun RunWithBound(double bound, std::vector<Rounds>& steps) {
  std::vector<std::string> fields = {"launch=threads:3",   "language.num_ranks=2",
                                     "language.ep=2",      "micro_batch_size=2",
                                     "train_steps=3",      "logging.console_interval_steps=1",
                                     "encoder_run_ahead=0"};
  fields.push_back(absl::StrCat("model.language.experts.expert_rows_bound=", bound));
  return RunConfigured(RecipeConfig("mock_vlm_tiny", fields),
                       {.on_step = [&](const StepMetrics& step) {
                         Rounds& rounds = steps.emplace_back();
                         for (const LossSum& sum : step.losses) {
                           if (sum.name == "expert rounds") rounds.of_all = sum.sum;
                           if (sum.name.starts_with("expert rounds layer ")) {
                             rounds.of_layers.push_back(sum);
                           }
                         }
                       }});
}

// Each rank takes 48 rows at once, and no layer has fewer for any: 96 tokens with 2 experts each
// are 96 rows a rank, if they are even.
TEST(ExpertRoundsTest, LayersAboveTheBoundAreToldOnTheConsoleAndInTheResult) {
  std::vector<Rounds> steps;
  const RecipeRun run = RunWithBound(0.5, steps);
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(steps.size(), 3);
  for (const Rounds& step : steps) {
    ASSERT_THAT(step.of_layers, testing::SizeIs(2));
    for (const LossSum& layer : step.of_layers) {
      EXPECT_EQ(layer.count, 4) << layer.name;
      EXPECT_GE(layer.sum, 2 * layer.count) << layer.name;
    }
    EXPECT_EQ(step.of_layers[0].sum + step.of_layers[1].sum, step.of_all);
  }
  for (const int layer : {1, 4}) {
    EXPECT_THAT(run.output, HasSubstr(absl::StrCat(" | expert rounds layer ", layer, ": ")));
    EXPECT_GE(ResultValue(run.output, absl::StrCat("expert_rounds_layer_", layer)), 2);
  }
}

TEST(ExpertRoundsTest, LayersBelowTheBoundAreNotWorthALine) {
  std::vector<Rounds> steps;
  const RecipeRun run = RunWithBound(100, steps);
  ASSERT_THAT(run.status, IsOk());
  for (const Rounds& step : steps) {
    for (const LossSum& layer : step.of_layers) EXPECT_EQ(layer.sum, layer.count) << layer.name;
  }
  EXPECT_THAT(run.output,
              AllOf(HasSubstr(" | expert rounds: 1.000000E+00 | "),
                    Not(HasSubstr("expert rounds layer")), Not(HasSubstr("expert_rounds_layer"))));
}

}  // namespace
}  // namespace hetero
