#include "hetero/trainer/config.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The recipe with fields changed.
proto::RunConfig Changed(std::string_view recipe, std::vector<std::string_view> assignments) {
  // Links the models that recipes name.
  proto::VisionLanguageModel::descriptor();
  proto::RunConfig config = ParseRunConfig(*FindRecipe(recipe), recipe).value();
  for (std::string_view assignment : assignments) {
    EXPECT_THAT(SetField(assignment, config), IsOk());
  }
  return config;
}

std::vector<std::string> Messages(const proto::RunConfig& config) {
  std::vector<std::string> messages;
  for (const Violation& violation : Validate(config)) messages.push_back(violation.message);
  return messages;
}

std::vector<std::string> Messages(std::vector<std::string_view> assignments) {
  return Messages(Changed("fashion_tiny", std::move(assignments)));
}

TEST(RecipesTest, SayInOneLineWhatTheyAreFor) {
  for (std::string_view name : RecipeNames()) {
    SCOPED_TRACE(name);
    const auto config = ParseRunConfig(*FindRecipe(name), name);
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(config->description(), ::testing::MatchesRegex("[^\n]{10,100}[.]"));
  }
}

TEST(ValidateTest, EveryRecipeIsValid) {
  for (std::string_view name : RecipeNames()) {
    EXPECT_THAT(Messages(Changed(name, {})), IsEmpty()) << name;
  }
}

TEST(ValidateTest, NamesOverlapAndGap) {
  EXPECT_THAT(Messages({"language.rank_offset=1"}),
              ElementsAre("language.rank_offset is 1: language on ranks [1, 3) overlaps "
                          "radio_encoder on ranks [0, 2) at ranks [1, 2); spans must be all equal "
                          "or disjoint; nearest: rank_offset 2",
                          "grids cover ranks [0, 3) of 4; add 1 to language.num_ranks (2 -> 3, dp "
                          "2 -> 3) or start 3 ranks"));
  EXPECT_THAT(Messages({"launch=threads:5", "language.rank_offset=3"}),
              ElementsAre("no grid covers ranks [2, 3), but language.rank_offset is 3; grids must "
                          "cover every rank; nearest: rank_offset 2"));
}

TEST(ValidateTest, LanesNeedNotDivideEachOtherButMustDivideTheSamples) {
  EXPECT_THAT(
      Messages({"launch=threads:5", "radio_encoder.num_ranks=3", "language.rank_offset=3",
                "micro_batch_size=6", "global_batch_size=60", "evaluation.global_batch_size=60"}),
      IsEmpty());
  EXPECT_THAT(
      Messages({"launch=threads:5", "radio_encoder.num_ranks=3", "language.rank_offset=3"}),
      ElementsAre("radio_encoder has 3 data lanes, which do not divide the 16 samples of "
                  "one microbatch (micro_batch_size 8 * 2 language lanes); nearest: 2 lanes "
                  "(num_ranks 2) or micro_batch_size 9"));
}

TEST(ValidateTest, ARunRefusesTheShardsItDoesNotTrainWith) {
  EXPECT_THAT(Messages({"language.cp=2", "language.num_ranks=4", "launch=threads:6"}),
              ElementsAre("language.cp is 2; a run supports 1 only; nearest: 1"));
  EXPECT_THAT(Messages({"language.gtp_remat=2"}),
              ElementsAre("language.gtp_remat is 2; a run supports 1 only; nearest: 1"));
  EXPECT_THAT(Messages({"radio_encoder.pp=2", "language.ep=2"}),
              ElementsAre("radio_encoder.pp is 2; a run supports 1 only; nearest: 1",
                          "language.ep is 2; a run supports 1 only; nearest: 1"));
}

TEST(ValidateTest, NamesMissingNumbersByModuleAndPath) {
  proto::RunConfig config = Changed("fashion_tiny", {});
  config.mutable_grids(1)->clear_num_ranks();
  config.clear_micro_batch_size();
  config.mutable_optimizer()->mutable_adamw()->clear_beta2();
  config.clear_duration();
  config.mutable_data()->clear_source();
  proto::VisionLanguageModel model;
  ASSERT_TRUE(config.model().UnpackTo(&model));
  model.mutable_language()->mutable_mamba()->clear_state_size();
  model.mutable_encoder()->clear_final_norm();
  config.mutable_model()->PackFrom(model);
  EXPECT_THAT(Messages(config),
              ElementsAre("model.encoder.final_norm is not set; it has no default",
                          "model.language.mamba.state_size is not set; it has no default",
                          "language.num_ranks is not set; it has no default",
                          "micro_batch_size is not set; it has no default",
                          "optimizer.adamw.beta2 is not set; it has no default",
                          "neither train_steps nor train_samples is set; give one of them",
                          "data names no source; give one of fashion_mnist, web_dataset, mock"));
  EXPECT_THAT(Messages(proto::RunConfig()),
              testing::Contains("model is not set; it has no default"));
}

TEST(ValidateTest, NamesNumbersBeyondTheirBounds) {
  EXPECT_THAT(
      Messages({"optimizer.adamw.beta1=1", "optimizer.clip_gradient_norm=0", "schedule.peak=nan",
                "data.fashion_mnist.sizes[1].rows=0", "encoder_run_ahead=-1"}),
      ElementsAre("data.fashion_mnist.sizes[1].rows is 0, must be at least 1; nearest: 1",
                  "optimizer.adamw.beta1 is 1, must be below 1",
                  "optimizer.clip_gradient_norm is 0, must be above 0",
                  "schedule.peak is nan, must be above 0",
                  "encoder_run_ahead is -1, must be at least 0; nearest: 0"));
}

TEST(ValidateTest, NamesALaunchThatIsNone) {
  EXPECT_THAT(Messages({"launch=thread:4"}),
              ElementsAre("launch is 'thread:4', must be threads:N with N at least 1; nearest: "
                          "threads:1"));
}

TEST(ValidateTest, BatchesAreWholeMicrobatches) {
  EXPECT_THAT(Messages({"global_batch_size=72", "evaluation.global_batch_size=8"}),
              ElementsAre("global_batch_size is 72, must be a multiple of 16 (micro_batch_size 8 * "
                          "2 language lanes); nearest: 64 or 80",
                          "evaluation.global_batch_size is 8, must be a multiple of 16 "
                          "(micro_batch_size 8 * 2 language lanes); nearest: 16"));
}

TEST(ValidateTest, RoundedNumbersNeedAGpu) {
  EXPECT_THAT(Messages({"precision=BF16"}),
              ElementsAre("precision is BF16, which needs device CUDA; device is CPU; nearest: "
                          "F32"));
  EXPECT_THAT(Messages({"precision=BF16", "device=CUDA"}), IsEmpty());
}

TEST(ValidateTest, SchedulesAreConsistent) {
  EXPECT_THAT(Messages({"schedule.warmup_samples=100"}),
              ElementsAre("train and schedule lengths are given partly in steps and partly in "
                          "samples; give all of them in steps or all in samples"));
  EXPECT_THAT(Messages({"schedule.minimum=1"}),
              ElementsAre("schedule.minimum is 1, must be at most schedule.peak 0.003; nearest: "
                          "0.003"));
  EXPECT_THAT(Messages({"schedule.warmup_steps=600"}),
              ElementsAre("schedule warm-up takes 38400 samples, must end before the decay does at "
                          "sample 38400; nearest: warmup_steps 599"));
  EXPECT_THAT(Messages({"schedule.style=WARMUP_STABLE_DECAY", "schedule.tail_steps=10"}),
              ElementsAre("schedule.style is WARMUP_STABLE_DECAY, which needs schedule.tail and "
                          "tail_steps or tail_samples"));
  EXPECT_THAT(Messages({"schedule.tail=TAIL_LINEAR"}),
              ElementsAre("schedule.tail and its length belong to style WARMUP_STABLE_DECAY, "
                          "schedule.style is COSINE"));
}

TEST(ParseLaunchTest, CountsThreads) {
  EXPECT_THAT(ParseLaunch("threads:4"), IsOkAndHolds(4));
  for (std::string_view launch : {"", "threads:", "threads:0", "threads:-1", "4"}) {
    EXPECT_THAT(ParseLaunch(launch), StatusIs(absl::StatusCode::kInvalidArgument)) << launch;
  }
}

TEST(SizesTest, FollowFromTheBatchAndTheLanguageLanes) {
  const RunSizes sizes = SizesOf(Changed("fashion_tiny", {}));
  EXPECT_EQ(sizes.world_size, 4);
  EXPECT_EQ(sizes.train_steps, 600);
  EXPECT_EQ(SizesOf(Changed("mock_tiny", {"train_samples=36621094", "global_batch_size=768",
                                          "micro_batch_size=1"}))
                .train_steps,
            47684);
}

TEST(ResolveTest, WritesDefaultsOutAndStaysValid) {
  const proto::RunConfig resolved =
      Resolve(Changed("fashion_tiny", {"evaluation={num_batches: 2}"}));
  EXPECT_EQ(resolved.evaluation().micro_batch_size(), 8);
  EXPECT_EQ(resolved.evaluation().global_batch_size(), 64);
  EXPECT_EQ(resolved.schedule().decay_steps(), 600);
  EXPECT_EQ(resolved.precision(), proto::RunConfig::F32);
  EXPECT_THAT(Messages(resolved), IsEmpty());
  EXPECT_EQ(Resolve(Changed("mock_tiny", {"train_samples=160"})).schedule().decay_samples(), 160);
}

}  // namespace
}  // namespace hetero
