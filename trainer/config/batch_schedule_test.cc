#include "hetero/trainer/config/batch_schedule.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/testing/changed_recipe.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Phase = data::BatchSchedule::Phase;

// 48 tokens a sample, microbatches of 4 samples.
std::vector<std::string> Messages(const std::vector<std::string_view>& assignments) {
  return ViolationTexts(ChangedRecipe("mock_vlm_tiny", assignments));
}

// Without its rules: 768 samples of 8192 tokens are no batch of a small recipe.
proto::RunConfig Production(const std::string& schedule) {
  proto::RunConfig config;
  config.set_sequence_length(8192);
  config.set_batch_size_schedule(schedule);
  return config;
}

// 250e9 / 8192 tokens is sample 30,517,578, which a step of 768 passes 438 samples further on.
TEST(BatchScheduleTest, TokensAreRoundedDownToSamples) {
  const data::BatchSchedule schedule = BatchScheduleOf(Production("0:768 250B:1536"));
  EXPECT_THAT(schedule.phases(), ElementsAre(Phase{0, 0, 768}, Phase{39737, 30518016, 1536}));
  EXPECT_EQ(schedule.SizeOf(schedule.StepOf(30'517'577)), 768);
  EXPECT_EQ(schedule.SizeOf(schedule.StepOf(30'517'578)), 768);
  EXPECT_EQ(schedule.SizeOf(schedule.StepOf(30'518'016)), 1536);
  // Of steps of one sample each the sample itself is the first of the next size.
  EXPECT_THAT(BatchScheduleOf(Production("0:1 250B:2")).phases(),
              ElementsAre(Phase{0, 0, 1}, Phase{30'517'578, 30'517'578, 2}));
}

TEST(BatchScheduleTest, SuffixesAreThousands) {
  EXPECT_THAT(
      BatchScheduleOf(Production("0:1 8192:2 1000K:3 1000M:4 1000B:5  2T:6")).phases(),
      ElementsAre(Phase{0, 0, 1}, Phase{1, 1, 2}, Phase{62, 123, 3}, Phase{40711, 122070, 4},
                  Phase{30527772, 122070314, 5}, Phase{54941835, 244140629, 6}));
}

TEST(BatchScheduleTest, RulesAreTheSameForEveryEntry) {
  EXPECT_THAT(Messages({"batch_size_schedule=0:8 1K:16"}), IsEmpty());
  EXPECT_THAT(Messages({"batch_size_schedule=0:8 96:16"}), IsEmpty());
  const auto refused = [](std::string_view schedule, const std::vector<const char*>& parts) {
    const std::string set = std::string("batch_size_schedule=") + std::string(schedule);
    const std::vector<std::string> messages = Messages({set});
    ASSERT_EQ(messages.size(), 1u) << schedule;
    for (const char* part : parts) EXPECT_THAT(messages[0], HasSubstr(part));
  };
  refused("1K:8", {"must begin at 0 tokens", "nearest: 0:8"});
  refused("0:8 47:16", {"47:16 begins at sample 0", "(sequence_length 48)", "nearest: 0:8"});
  refused("0:16 1K:8", {"1K:8 follows 0:16", "nearest: 0:16 1K:16"});
  refused("0:8 1K:18", {"has steps of 18, must be a multiple of 4", "nearest: 0:8 1K:16"});
  refused("0:8 1G:16", {"1G:16 is no pair TOKENS:SAMPLES"});
  refused("0:8 1K", {"1K is no pair"});
  refused("0:0", {"0 samples a step", "nearest: 0:"});
  refused("0:8 9999999T:16", {"9999999T:16 is no pair"});
  refused("'  '", {"1 to 64 pairs"});
}

TEST(BatchScheduleTest, TakesThePlaceOfASize) {
  proto::RunConfig config = ChangedRecipe("mock_vlm_tiny", {"batch_size_schedule=0:8 96:16"});
  EXPECT_FALSE(config.has_global_batch_size());
  config.set_train_samples(8 + 16 + 1);
  EXPECT_EQ(SizesOf(config).train_steps, 3);
  config.clear_batch();
  EXPECT_THAT(ViolationTexts(config),
              ElementsAre("neither global_batch_size nor batch_size_schedule is set; give one of "
                          "them"));
}

}  // namespace
}  // namespace hetero
