// Whoever follows the advice about a configuration has one that runs.

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/testing/changed_recipe.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

struct Wrong {
  std::string_view recipe;
  std::vector<std::string_view> assignments;
};

proto::RunConfig ConfigOf(const Wrong& wrong) {
  return ChangedRecipe(wrong.recipe, wrong.assignments);
}

void Follow(const Correction& correction, proto::RunConfig& config) {
  for (const auto& [path, value] : correction) {
    const absl::Status set = SetField(absl::StrCat(path, "=", value), config);
    EXPECT_TRUE(set.ok()) << set;
  }
}

std::vector<Violation> Violations(const proto::RunConfig& config) {
  return Validate(config, BuiltInModels());
}

TEST(AdviceTest, NamesAllThatHangsTogether) {
  EXPECT_THAT(ViolationTexts(ConfigOf({"fashion_tiny", {"launch=threads:11"}})),
              ElementsAre("grids cover ranks [0, 4) of 11; nearest: language.num_ranks 9 with "
                          "global_batch_size 72 with evaluation.global_batch_size 72 or launch "
                          "threads:4"));
  // What follows from another line is not a line of its own.
  EXPECT_THAT(ViolationTexts(ConfigOf({"fashion_tiny", {"language.num_ranks=3"}})),
              ElementsAre("language is on ranks [2, 5), but the world has 4 ranks; nearest: "
                          "language.num_ranks 2 or launch threads:5 with global_batch_size 72 with "
                          "evaluation.global_batch_size 72"));
  EXPECT_THAT(ViolationTexts(ConfigOf({"mock_tiny", {"launch=threads:3"}})),
              ElementsAre("grids cover ranks [0, 2) of 3; nearest: language.num_ranks 3 with "
                          "global_batch_size 12 or launch threads:2"));
}

// What a run does not support is taken back before anything is judged with it.
TEST(AdviceTest, NoLineIsVoidOnceTheOneBeforeIsFollowed) {
  EXPECT_THAT(
      ViolationTexts(ConfigOf(
          {"fashion_tiny", {"language.cp=2", "language.num_ranks=9", "launch=threads:11"}})),
      ElementsAre("language.cp is 2; a run supports 1 only; nearest: 1",
                  "global_batch_size is 64, must be a multiple of 72 (micro_batch_size 8 * "
                  "9 language lanes); nearest: 72",
                  "evaluation.global_batch_size is 80, must be a multiple of 72 "
                  "(micro_batch_size 8 * 9 language lanes); nearest: 72 or 144"));
  EXPECT_THAT(ViolationTexts(ConfigOf({"mock_tiny", {"language.cp=2", "launch=threads:11"}})),
              ElementsAre("language.cp is 2; a run supports 1 only; nearest: 1",
                          "grids cover ranks [0, 2) of 11; nearest: language.num_ranks 11 with "
                          "global_batch_size 44 or launch threads:2"));
}

TEST(AdviceTest, ATailIsAskedForWithAllThatItNeeds) {
  EXPECT_THAT(
      ViolationTexts(ConfigOf({"fashion_tiny", {"schedule.tail=TAIL_COSINE"}})),
      ElementsAre("schedule.tail or tail_steps is set, only style WARMUP_STABLE_DECAY has a "
                  "tail; nearest: schedule.style WARMUP_STABLE_DECAY with "
                  "schedule.tail_steps 570"));
  EXPECT_THAT(ViolationTexts(ConfigOf({"fashion_tiny", {"schedule.style=WARMUP_STABLE_DECAY"}})),
              ElementsAre("schedule.tail is not set, style WARMUP_STABLE_DECAY needs the shape of "
                          "its decay; nearest: TAIL_LINEAR",
                          "schedule.tail_steps is not set, style WARMUP_STABLE_DECAY needs the "
                          "length of its decay; nearest: 570"));
  EXPECT_THAT(
      ViolationTexts(ConfigOf(
          {"fashion_tiny", {"schedule.style=WARMUP_STABLE_DECAY", "schedule.tail_steps=0"}})),
      ElementsAre("schedule.tail_steps is 0, must be at least 1; nearest: "
                  "schedule.tail_steps 1 with schedule.tail TAIL_LINEAR"));
}

TEST(AdviceTest, UnitsOfLengthsAreMendedAtEitherEnd) {
  EXPECT_THAT(ViolationTexts(ConfigOf({"fashion_tiny", {"train_samples=640"}})),
              ElementsAre("train_samples is set beside schedule.warmup_steps; give all lengths in "
                          "steps or all in samples; nearest: schedule.warmup_samples 1920 or "
                          "train_steps 10"));
}

const std::vector<Wrong>& WrongConfigurations() {
  static const auto& configurations = *new std::vector<Wrong>{
      {"fashion_tiny", {"launch=threads:11"}},
      {"fashion_tiny", {"launch=threads:3"}},
      {"fashion_tiny", {"launch=threads:0"}},
      {"fashion_tiny", {"launch=threads:5", "language.rank_offset=3"}},
      {"fashion_tiny", {"launch=threads:5", "language.rank_offset=1"}},
      {"fashion_tiny", {"language.rank_offset=1"}},
      {"fashion_tiny", {"language.num_ranks=3"}},
      {"fashion_tiny", {"radio_encoder.num_ranks=3", "launch=threads:5"}},
      {"fashion_tiny",
       {"radio_encoder.num_ranks=3", "language.num_ranks=1", "language.rank_offset=3"}},
      {"fashion_tiny", {"radio_encoder.num_ranks=5", "launch=threads:7"}},
      {"fashion_tiny", {"language.cp=2", "launch=threads:11"}},
      {"fashion_tiny", {"language.cp=2", "language.num_ranks=9", "launch=threads:11"}},
      {"fashion_tiny", {"language.tp=2", "launch=threads:11"}},
      {"fashion_tiny", {"language.tp=3", "language.num_ranks=9", "launch=threads:11"}},
      {"fashion_tiny", {"language.ep=3", "language.num_ranks=6", "launch=threads:8"}},
      {"fashion_tiny", {"radio_encoder.tp=2", "language.ep=2", "micro_batch_size=7"}},
      {"fashion_tiny", {"micro_batch_size=7"}},
      {"fashion_tiny", {"micro_batch_size=5", "evaluation.micro_batch_size=3"}},
      {"fashion_tiny", {"global_batch_size=8"}},
      {"fashion_tiny", {"global_batch_size=0"}},
      {"fashion_tiny", {"micro_batch_size=0"}},
      {"fashion_tiny", {"micro_batch_size=65537"}},
      {"fashion_tiny", {"sequence_length=0"}},
      {"fashion_tiny", {"sequence_length=16777217"}},
      {"fashion_tiny", {"train_samples=640"}},
      {"fashion_tiny", {"schedule.warmup_samples=64"}},
      {"fashion_tiny", {"schedule.decay_steps=20"}},
      {"fashion_tiny", {"schedule.tail=TAIL_COSINE"}},
      {"fashion_tiny", {"schedule.tail_samples=640"}},
      {"fashion_tiny", {"schedule.style=WARMUP_STABLE_DECAY"}},
      {"fashion_tiny", {"schedule.style=WARMUP_STABLE_DECAY", "schedule.tail_steps=0"}},
      {"fashion_tiny", {"schedule.minimum=-1"}},
      {"fashion_tiny", {"schedule.initial=1"}},
      {"fashion_tiny", {"precision=BF16"}},
      {"fashion_tiny", {"grids[0].name=encoder"}},
      {"fashion_tiny", {"model.encoder.max_image_side=30"}},
      {"fashion_tiny", {"model.encoder.patch_size=5"}},
      {"fashion_tiny", {"model.image_token_id=512"}},
      {"fashion_tiny", {"model.language.vocabulary_size=100"}},
      {"fashion_tiny", {"model.language.attention.num_heads=7", "model.language.experts.top_k=9"}},
      {"fashion_tiny", {"optimizer.adamw.beta1=1", "schedule.peak=nan", "encoder_run_ahead=-1"}},
      {"fashion_tiny", {"language.rank_offset=1", "global_batch_size=70", "launch=threads:9"}},
      {"mock_tiny", {"launch=threads:3"}},
      {"mock_tiny", {"launch=threads:5"}},
      {"mock_tiny", {"global_batch_size=17"}},
      {"mock_vlm_tiny", {"launch=threads:7"}},
      {"mock_vlm_tiny", {"sequence_length=16"}},
      {"mock_vlm_tiny", {"data.mock.num_image_tokens=17"}},
      {"mock_avlm_tiny", {"model.audio.token_id=511"}},
      {"mock_avlm_tiny", {"model.audio.token_id=1", "model.image.token_id=1"}},
      {"mock_avlm_tiny", {"model.audio.token_id=0"}},
      {"mock_avlm_tiny", {"model.image.token_id=512"}},
      {"mock_avlm_tiny", {"data.pad_token_id=511"}},
      {"mock_avlm_tiny", {"data.mock.num_image_tokens=40"}},
      {"mock_avlm_tiny", {"data.mock.num_image_tokens=64"}},
      {"mock_avlm_tiny", {"data.mock.num_image_tokens=0"}},
      {"mock_avlm_tiny", {"data.mock={num_image_tokens: 16 clip_percent: 60}"}},
      {"mock_avlm_tiny", {"data.mock={num_image_tokens: 16 max_clip_frames: 60}"}},
      {"mock_avlm_tiny", {"data.mock.max_clip_frames=100", "data.mock.min_clip_frames=80"}},
      {"mock_avlm_tiny", {"sequence_length=17"}},
      {"mock_avlm_tiny", {"audio_encoder.num_ranks=2"}},
      {"mock_avlm_tiny", {"pipeline_chunks=3"}},
      {"mock_avlm_tiny", {"pipeline_chunks=2", "global_batch_size=14"}},
      {"mock_avlm_tiny", {"pipeline_chunks=2", "micro_batch_size=1", "global_batch_size=8191"}}};
  return configurations;
}

class WrongConfigurationTest : public ::testing::TestWithParam<Wrong> {};

INSTANTIATE_TEST_SUITE_P(Configurations, WrongConfigurationTest,
                         ::testing::ValuesIn(WrongConfigurations()));

// Each way out of each broken rule leaves none but the others.
TEST_P(WrongConfigurationTest, EveryAdviceAloneIsWhole) {
  const proto::RunConfig config = ConfigOf(GetParam());
  const std::vector<Violation> violations = Violations(config);
  EXPECT_THAT(violations, Not(IsEmpty())) << absl::StrJoin(GetParam().assignments, " ");
  for (const Violation& violation : violations) {
    EXPECT_THAT(violation.corrections, Not(IsEmpty())) << violation.message;
    for (const Correction& correction : violation.corrections) {
      proto::RunConfig mended = config;
      Follow(correction, mended);
      std::vector<std::string> others;  // fields
      for (const Violation& other : violations) {
        if (other.message != violation.message) others.push_back(other.field);
      }
      for (const Violation& left : Violations(mended)) {
        EXPECT_THAT(others, ::testing::Contains(left.field)) << violation.ToString();
      }
    }
  }
}

// All that a run says, the first way out of each.
TEST_P(WrongConfigurationTest, TheAdviceOfOneMessageIsFollowedTogether) {
  proto::RunConfig config = ConfigOf(GetParam());
  const std::vector<Violation> violations = Violations(config);
  for (const Violation& violation : violations) Follow(violation.corrections.at(0), config);
  EXPECT_THAT(ViolationTexts(config), IsEmpty()) << ViolationsError(violations);
}

}  // namespace
}  // namespace hetero
