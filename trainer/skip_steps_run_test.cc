// Runs that pass over the samples of some steps.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "hetero/trainer/testing/run_checkpoint.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// 16 samples a step.
RecipeRun Train(std::vector<std::string> assignments) {
  assignments.insert(assignments.begin(),
                     {"train_steps=6", "schedule.peak=1e-2", "logging.console_interval_steps=1"});
  return RunConfigured(RecipeConfig("mock_vlm_tiny", assignments));
}

bool SameTensors(const std::string& first, const std::string& second) {
  return CompareCheckpoints(TestFolder() / first, TestFolder() / second).none();
}

TEST(SkipStepsRunTest, NothingIsUpdatedAndTheSamplesAreGone) {
  const RecipeRun run =
      Train({"skip_steps=[3]", "checkpoint.save={folder: \"skips\" interval_steps: 1}"});
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 6u);
  const StepMetrics& passed_over = run.steps[2];
  EXPECT_TRUE(passed_over.skipped);
  EXPECT_TRUE(passed_over.losses.empty());
  EXPECT_EQ(passed_over.consumed_samples, 48);
  EXPECT_EQ(passed_over.learning_rate, run.steps[1].learning_rate);
  EXPECT_TRUE(SameTensors("skips/iter_0000002", "skips/iter_0000003"));
  EXPECT_FALSE(SameTensors("skips/iter_0000003", "skips/iter_0000004"));
  EXPECT_EQ(run.steps[1].passed_over_samples, 0);
  EXPECT_EQ(run.steps[5].passed_over_samples, 16);
  EXPECT_THAT(run.output,
              AllOf(HasSubstr("consumed samples:           48 | skipped samples:           16 |"),
                    HasSubstr("consumed samples:           32 | elapsed"),
                    HasSubstr("number of skipped iterations:   1 "), Not(HasSubstr("was skipped")),
                    HasSubstr(" skipped_steps=1 ")));
  // What the run goes on with has counted them too.
  const RecipeRun rest = Train({"checkpoint.load={folder: \"skips\" iteration: 4}"});
  ASSERT_THAT(rest.status, IsOk());
  ASSERT_EQ(rest.steps.size(), 2u);
  EXPECT_EQ(rest.steps[1].passed_over_samples, 16);
  EXPECT_EQ(rest.steps[1].losses[0].sum, run.steps[5].losses[0].sum);
  EXPECT_EQ(rest.steps[1].learning_rate, run.steps[5].learning_rate);
}

// At a rate that changes nothing the loss tells the samples.
TEST(SkipStepsRunTest, EveryOtherStepHasTheSamplesThatItAlwaysHas) {
  const std::vector<std::string> still = {"schedule={style: CONSTANT peak: 1e-30 minimum: 0}",
                                          "model.language.experts.expert_bias_rate=0"};
  const RecipeRun all = Train(still);
  std::vector<std::string> skips = still;
  skips.emplace_back("skip_steps=[1, 4, 6, 99]");
  const RecipeRun some = Train(skips);
  ASSERT_THAT(all.status, IsOk());
  ASSERT_THAT(some.status, IsOk());
  for (const int step : {1, 2, 4}) {
    EXPECT_EQ(some.steps[step].losses[0].sum, all.steps[step].losses[0].sum) << step;
  }
  EXPECT_NE(all.steps[2].losses[0].sum, all.steps[3].losses[0].sum);
  EXPECT_THAT(some.output, HasSubstr(" skipped_steps=3 "));
}

TEST(SkipStepsRunTest, ARunMayPassOverAllItHas) {
  const RecipeRun run = Train({"train_steps=2", "skip_steps=[1, 2]"});
  EXPECT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("RESULT steps=2 "));
}

}  // namespace
}  // namespace hetero
