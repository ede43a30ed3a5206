#include "hetero/trainer/config/config.h"

#include <string_view>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RecipesTest, SayInOneLineWhatTheyAreFor) {
  for (std::string_view name : RecipeNames()) {
    SCOPED_TRACE(name);
    const auto config = ParseRunConfig(*FindRecipe(name), name);
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(config->description(), ::testing::MatchesRegex("[^\n]{10,100}[.]"));
  }
}

TEST(ChangesTest, ARunShorterThanItsWarmUpCutsItAndSaysSo) {
  const proto::RunConfig ten = ChangedRecipe("fashion_tiny", {"train_steps=10"});
  EXPECT_THAT(ViolationTexts(ten), IsEmpty());
  EXPECT_THAT(ChangesOf(ten), ElementsAre("schedule.warmup_steps is cut from 30 to 9: the run has "
                                          "10 steps"));
  EXPECT_EQ(Resolve(ten).schedule().warmup_steps(), 9);
  EXPECT_EQ(Resolve(ten).schedule().decay_steps(), 10);
  EXPECT_THAT(ViolationTexts(Resolve(ten)), IsEmpty());
  EXPECT_THAT(ChangesOf(ChangedRecipe("fashion_tiny", {})), IsEmpty());
  const proto::RunConfig tail =
      ChangedRecipe("fashion_tiny", {"train_steps=40", "schedule.style=WARMUP_STABLE_DECAY",
                                     "schedule.tail=TAIL_LINEAR", "schedule.tail_steps=50"});
  EXPECT_THAT(ChangesOf(tail),
              ElementsAre("schedule.tail_steps is cut from 50 to 10: the run has 40 steps"));
}

TEST(ChangesTest, OneStepIsOne) {
  EXPECT_THAT(ChangesOf(ChangedRecipe("fashion_tiny", {"train_steps=1"})),
              ElementsAre("schedule.warmup_steps is cut from 30 to 0: the run has 1 step"));
}

TEST(ChangesTest, ARunOfNoStepsHasNothingToSayAboutSchedulesNobodySet) {
  for (std::string_view recipe : {"mock_tiny", "fashion_tiny"}) {
    EXPECT_THAT(ViolationTexts(ChangedRecipe(recipe, {"train_steps=0"})), IsEmpty()) << recipe;
    EXPECT_THAT(ViolationTexts(Resolve(ChangedRecipe(recipe, {"train_steps=0"}))), IsEmpty())
        << recipe;
  }
  EXPECT_THAT(ChangesOf(ChangedRecipe("mock_tiny", {"train_steps=0"})), IsEmpty());
}

TEST(ParseLaunchTest, CountsThreadsOrProcesses) {
  EXPECT_THAT(ParseLaunch("threads:4"), IsOkAndHolds(4));
  EXPECT_THAT(ParseLaunch("processes:6"), IsOkAndHolds(6));
  EXPECT_TRUE(AreProcesses("processes:6"));
  EXPECT_FALSE(AreProcesses("threads:6"));
  for (std::string_view launch : {"", "threads:", "threads:0", "threads:-1", "threads:1048577",
                                  "threads:4294967297", "4", "processes:0", "process:2"}) {
    EXPECT_THAT(ParseLaunch(launch), StatusIs(absl::StatusCode::kInvalidArgument)) << launch;
  }
}

TEST(SizesTest, FollowFromTheBatchAndTheLanguageLanes) {
  const RunSizes sizes = SizesOf(ChangedRecipe("fashion_tiny", {}));
  EXPECT_EQ(sizes.world_size, 4);
  EXPECT_EQ(sizes.train_steps, 600);
  EXPECT_EQ(SizesOf(ChangedRecipe("mock_tiny", {"train_samples=36621094", "global_batch_size=768",
                                                "micro_batch_size=1"}))
                .train_steps,
            47684);
}

TEST(ResolveTest, WritesDefaultsOutAndStaysValid) {
  const proto::RunConfig resolved =
      Resolve(ChangedRecipe("fashion_tiny", {"evaluation={num_batches: 2}"}));
  EXPECT_EQ(resolved.evaluation().micro_batch_size(), 8);
  EXPECT_EQ(resolved.evaluation().global_batch_size(), 64);
  EXPECT_EQ(resolved.schedule().decay_steps(), 600);
  EXPECT_EQ(resolved.precision(), proto::RunConfig::F32);
  EXPECT_TRUE(resolved.optimizer().has_correct_partial_participation());
  EXPECT_THAT(ViolationTexts(resolved), IsEmpty());
  EXPECT_EQ(Resolve(ChangedRecipe("mock_tiny", {"train_samples=160"})).schedule().decay_samples(),
            160);
}

TEST(ResolveTest, SaysOfAModuleThatDiffersWhatItHas) {
  const proto::RunConfig resolved = Resolve(ChangedRecipe(
      "fashion_tiny", {"optimizer.per_module[0]={module: \"language\" learning_rate_scale: 0.5 "
                       "overlap_gradient_reduce: false}"}));
  EXPECT_EQ(resolved.optimizer().per_module(0).ShortDebugString(),
            "module: \"language\" learning_rate_scale: 0.5 overlap_gradient_reduce: false "
            "overlap_parameter_gather: true");
  EXPECT_THAT(ViolationTexts(resolved), IsEmpty());
}

}  // namespace
}  // namespace hetero
