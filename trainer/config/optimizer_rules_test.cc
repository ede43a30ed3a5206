#include "hetero/trainer/config/optimizer_rules.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Messages(const std::vector<std::string_view>& assignments) {
  return ViolationTexts(ChangedRecipe("fashion_tiny", assignments));
}

TEST(WeightDecaySettingsTest, WeightDecayRisesOverTheSamplesOfTheRun) {
  constexpr std::string_view kSchedule =
      "optimizer.weight_decay_schedule={style: LINEAR start: 0.01}";
  EXPECT_EQ(WeightDecaySettingsOf(ChangedRecipe("fashion_tiny", {kSchedule})).samples, 600 * 64);
  EXPECT_EQ(
      WeightDecaySettingsOf(ChangedRecipe("mock_tiny", {kSchedule, "train_samples=161"})).samples,
      161);
  EXPECT_THAT(Messages({kSchedule, "train_steps=0"}), IsEmpty());
}

TEST(OptimizerRulesTest, WeightDecayRisesToWhatAdamWHas) {
  const auto with = [](std::string_view start) {
    return Messages({"optimizer.weight_decay_schedule.style=LINEAR", start});
  };
  EXPECT_THAT(with("optimizer.weight_decay_schedule.start=0.05"), IsEmpty());
  EXPECT_THAT(with("optimizer.weight_decay_schedule.start=0.06"),
              ElementsAre("optimizer.weight_decay_schedule.start is 0.06, must be at most "
                          "optimizer.adamw.weight_decay 0.05; nearest: 0.05"));
  EXPECT_THAT(Messages({"optimizer.weight_decay_schedule.start=-1"}),
              ElementsAre("optimizer.weight_decay_schedule.style is not set; it has no default",
                          "optimizer.weight_decay_schedule.start is -1, must be at least 0; "
                          "nearest: 0"));
}

TEST(OptimizerRulesTest, WhatModulesDifferInIsOfAModuleOnce) {
  EXPECT_THAT(Messages({"optimizer.per_module[0]={module: \"language\" clip_share: 0.5}",
                        "optimizer.per_module[1]={module: \"radio_encoder\" weight_decay: 0}"}),
              IsEmpty());
  EXPECT_THAT(Messages({"optimizer.per_module[0].module=langauge",
                        "optimizer.per_module[1].module=vision"}),
              ElementsAre("optimizer.per_module[0].module is 'langauge', must be one of "
                          "radio_encoder, language; nearest: language",
                          "optimizer.per_module[1].module is 'vision', must be one of "
                          "radio_encoder, language; nearest: radio_encoder or language"));
  EXPECT_THAT(Messages({"optimizer.per_module[0].module=language",
                        "optimizer.per_module[1].module=language"}),
              ElementsAre("optimizer.per_module[1].module is language, and so is "
                          "optimizer.per_module[0].module; give it once; nearest: radio_encoder"));
  EXPECT_THAT(Messages({"optimizer.per_module[0].clip_share=1.5"}),
              ElementsAre("optimizer.per_module[0].module is not set; it has no default",
                          "optimizer.per_module[0].clip_share is 1.5, must be at most 1; nearest: "
                          "1"));
}

TEST(OptimizerRulesTest, AShareOfTheClipNeedsTheClip) {
  proto::RunConfig config = ChangedRecipe(
      "fashion_tiny",
      {"optimizer.per_module[0].module=language", "optimizer.per_module[0].clip_share=0.25"});
  config.mutable_optimizer()->clear_clip_gradient_norm();
  EXPECT_THAT(ViolationTexts(config),
              ElementsAre("optimizer.per_module[0].clip_share is 0.25, a share of "
                          "optimizer.clip_gradient_norm, which is not set; nearest: "
                          "optimizer.clip_gradient_norm 1"));
}

}  // namespace
}  // namespace hetero
