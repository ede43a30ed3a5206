#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Messages(const std::vector<std::string_view>& assignments) {
  return ViolationTexts(ChangedRecipe("mock_tiny", assignments));
}

TEST(CheckpointRulesTest, WhatASaveSettingNeedsIsNamed) {
  EXPECT_THAT(Messages({"checkpoint.save.keep_every=100"}),
              ElementsAre("checkpoint.save.keep_every is 100, which spares checkpoints from "
                          "checkpoint.save.keep_last, which is not set; nearest: "
                          "checkpoint.save.keep_last 2"));
  EXPECT_THAT(Messages({"checkpoint.save={keep_every: 100 keep_last: 1}"}), IsEmpty());
  EXPECT_THAT(Messages({"checkpoint.save.keep_best=true"}),
              ElementsAre("checkpoint.save.keep_best is true, which needs evaluation, and that is "
                          "not set; nearest: false"));
  EXPECT_THAT(Messages({"checkpoint.save.interval_steps=0"}),
              ElementsAre("checkpoint.save.interval_steps is 0, must be at least 1; nearest: 1"));
}

TEST(CheckpointRulesTest, WhatALoadSettingNeedsIsNamed) {
  EXPECT_THAT(Messages({"checkpoint.load.iteration=10"}),
              ElementsAre("checkpoint.load.folder is not set; it has no default"));
  EXPECT_THAT(Messages({"checkpoint.load={folder: \"x\" foreign: true}"}),
              ElementsAre("checkpoint.load.foreign is true, and checkpoints of others say nothing "
                          "of steps and schedules of this program; nearest: "
                          "checkpoint.load.finetune true"));
  EXPECT_THAT(Messages({"checkpoint.load={folder: \"x\" foreign: true finetune: true}"}),
              IsEmpty());
  EXPECT_THAT(Messages({"checkpoint.load={folder: \"x\" names: LLAVA}"}),
              ElementsAre("checkpoint.load.names is LLAVA, which names weights alone; nearest: "
                          "checkpoint.load.finetune true"));
  EXPECT_THAT(Messages({"checkpoint.load={folder: \"x\" modules: \"language\"}"}),
              ElementsAre("checkpoint.load.modules leaves modules out, whose weights begin anew; "
                          "nearest: checkpoint.load.finetune true"));
  EXPECT_THAT(
      Messages({"checkpoint.load={folder: \"x\" finetune: true modules: \"langauge\"}"}),
      ElementsAre("checkpoint.load.modules[0] is 'langauge', must be one of language; nearest: "
                  "language"));
}

TEST(CheckpointRulesTest, DefaultsAreWrittenOutWhereCheckpointsAreWanted) {
  EXPECT_FALSE(Resolve(ChangedRecipe("mock_tiny", {})).has_checkpoint());
  const proto::RunConfig config = Resolve(ChangedRecipe(
      "mock_tiny", {"checkpoint.save.folder=saved", "checkpoint.load.folder=latest"}));
  EXPECT_EQ(config.checkpoint().save().max_failures(), 3);
  EXPECT_EQ(config.checkpoint().load().max_fallbacks(), 1);
}

}  // namespace
}  // namespace hetero
