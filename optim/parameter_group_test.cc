#include "hetero/optim/parameter_group.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/optim/testing/rank_rig.h"

namespace hetero {
namespace {

using testing::ElementsAre;

ParameterGroup Group(bool expert, bool decays) { return {.expert = expert, .decays = decays}; }

TEST(ParameterGroupTest, GroupsComeInOneOrderWhateverThatOfTheParameters) {
  std::vector<ParameterSpec> specs = EveryWayToShare();
  const std::vector<ParameterGroup> groups = {Group(false, true), Group(false, false),
                                              Group(true, true)};
  EXPECT_EQ(GroupsOf(ParameterTable::Make(specs).value()), groups);
  for (ParameterSpec& spec : specs) spec.layer = 0;
  std::ranges::reverse(specs);
  EXPECT_EQ(GroupsOf(ParameterTable::Make(specs).value()), groups);
}

TEST(ParameterGroupTest, WhatDoesNotTrainIsInNoGroup) {
  std::vector<ParameterSpec> specs = EveryWayToShare();
  for (ParameterSpec& spec : specs) {
    if (spec.name == "experts") spec.is_buffer = true;
    if (!spec.decay) spec.trainable = false;
  }
  EXPECT_THAT(GroupsOf(ParameterTable::Make(specs).value()), ElementsAre(Group(false, true)));
  for (ParameterSpec& spec : specs) spec.trainable = false;
  EXPECT_THAT(GroupsOf(ParameterTable::Make(specs).value()), ElementsAre());
}

// What the settings say of a group is what an update does with it: with a gradient of zero nothing
// but the decay moves a value.
TEST(ParameterGroupTest, SettingsAreThoseOfTheNextUpdate) {
  const ParameterTable table = ParameterTable::Make(EveryWayToShare()).value();
  RankRig rig(table, MakeGrid({.num_ranks = 1}), GlobalRank(0),
              {.optimizer = {.adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                             .learning_rate_scale = 0.5,
                             .scheduled_weight_decay = true}});
  rig.MakeOptimizer(
      {.learning_rate = LearningRateSchedule::Make({.style = LearningRateStyle::kLinear,
                                                    .peak = 0.1,
                                                    .minimum = 0.01,
                                                    .decay_samples = 10})
                            .value(),
       .weight_decay =
           WeightDecaySchedule::Make(
               {.style = WeightDecayStyle::kLinear, .start = 0.1, .end = 0.3, .samples = 4})
               .value()});
  for (const ParameterSpec& spec : table.specs()) std::ranges::fill(rig.values(spec.name), 0.75F);
  for (int64_t step = 0; step < 2; ++step) {
    const std::vector<GroupSettings> groups = rig.optimizer->Groups(0);
    ASSERT_EQ(groups.size(), 3u);
    EXPECT_EQ(groups[0].updates, step);
    EXPECT_EQ(groups[0].peak_learning_rate, 0.1);
    EXPECT_EQ(groups[2].last_weight_decay, 0.3);
    EXPECT_EQ(groups[1].weight_decay, 0);
    EXPECT_DOUBLE_EQ(groups[0].learning_rate, 0.5 * (0.1 - 0.09 * 0.1 * static_cast<double>(step)));
    const float head = rig.values("head")[3], norm = rig.values("norm")[2];
    const float expert = rig.values("experts")[5];
    for (const ParameterSpec& spec : table.specs()) std::ranges::fill(rig.gradient(spec.name), 0);
    ASSERT_TRUE(rig.traffic->Reduce().ok());
    ASSERT_TRUE(rig.optimizer->Step({.samples = 1, .tokens = Tokens(1)}).ok());
    const auto decayed = [](float value, const GroupSettings& settings) {
      return static_cast<float>(value * (1 - settings.learning_rate * settings.weight_decay));
    };
    EXPECT_NEAR(rig.values("head")[3], decayed(head, groups[0]), 1e-7);
    EXPECT_EQ(rig.values("norm")[2], norm);
    EXPECT_NEAR(rig.values("experts")[5], decayed(expert, groups[2]), 1e-7);
    EXPECT_NE(rig.values("experts")[5], expert);
  }
}

}  // namespace
}  // namespace hetero
