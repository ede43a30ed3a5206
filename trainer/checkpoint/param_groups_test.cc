#include "hetero/trainer/checkpoint/param_groups.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/plan/world_plan.h"

namespace hetero {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;

constexpr GroupOptions kEither = {.may_lack = true, .may_be_left = true};

// With decay, without, and experts'.
std::vector<GroupSettings> ThreeGroups() {
  std::vector<GroupSettings> groups;
  for (const ParameterGroup group : {ParameterGroup{}, {.decays = false}, {.expert = true}}) {
    groups.push_back({.group = group,
                      .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                      .updates = 7,
                      .learning_rate = 0.01,
                      .peak_learning_rate = 0.02});
  }
  return groups;
}

// Of one object with all groups.
Json ListOf(const std::vector<GroupSettings>& groups) {
  Json list = Json::array();
  for (const CheckpointObject& object : GroupObjects("a", groups, true)) {
    if (!object.value.is_array()) continue;
    for (const Json& group : object.value) list.push_back(group);
  }
  return list;
}

TEST(ParamGroupsTest, EveryOptimizerOfEveryBranchHasKeysOfItsOwn) {
  std::vector<std::string> names;
  for (const char* branch : {"a", "b"}) {
    for (const CheckpointObject& object : GroupObjects(branch, ThreeGroups(), true)) {
      names.push_back(object.name);
    }
  }
  EXPECT_THAT(names, ElementsAre("mimo.a.optimizer.mimo.a.param_groups/shard_0_1",
                                 "mimo.a.optimizer.mimo.a.param_state_sharding_type/shard_0_1",
                                 "mimo.a.optimizer.mimo.a.1.param_groups/shard_0_1",
                                 "mimo.a.optimizer.mimo.a.1.param_state_sharding_type/shard_0_1",
                                 "mimo.b.optimizer.mimo.b.param_groups/shard_0_1",
                                 "mimo.b.optimizer.mimo.b.param_state_sharding_type/shard_0_1",
                                 "mimo.b.optimizer.mimo.b.1.param_groups/shard_0_1",
                                 "mimo.b.optimizer.mimo.b.1.param_state_sharding_type/shard_0_1"));
  EXPECT_THAT(GroupObjects("a", {}, true), IsEmpty());
}

// Ranks that share a module describe its objects alike, and one of them writes them.
TEST(ParamGroupsTest, OneRankWritesThem) {
  const auto description = [](bool main) {
    return DescribeState({.objects = GroupObjects("a", ThreeGroups(), main)});
  };
  EXPECT_THAT(MakeWorldPlan(std::vector<std::string>{description(true), description(false)},
                            Distribution::kSave),
              IsOk());
  EXPECT_THAT(
      MakeWorldPlan(std::vector<std::string>{description(true), description(true)},
                    Distribution::kSave),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is written by rank 0 and rank 1")));
}

TEST(ParamGroupsTest, TheOrderOfGroupsDoesNotMatter) {
  const Json own = ListOf(ThreeGroups());
  Json stored = own;
  std::reverse(stored.begin(), stored.end());
  ASSERT_NE(own, stored);
  EXPECT_THAT(MatchGroups("o", own, stored, {}), IsOkAndHolds(IsEmpty()));
  // What another program left out or wrote as an integer is the same setting.
  for (Json& group : stored) {
    group["wd_mult"] = group["wd_mult"].get<int>();
    group["optimizer"] = "adam";
  }
  EXPECT_THAT(MatchGroups("o", own, stored, {}), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(MatchGroups("o", own, nullptr, {}), IsOkAndHolds(IsEmpty()))
      << "of an earlier version";
}

// Each is told of its own group, wherever that stands in the file.
TEST(ParamGroupsTest, SettingsThatAreNoPartOfTheIdentityMayDiffer) {
  Json stored = ListOf(ThreeGroups());
  stored[0]["max_lr"] = 0.5;
  std::reverse(stored.begin(), stored.end());
  EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, {}),
              IsOkAndHolds(ElementsAre(AllOf(HasSubstr("is_expert_parallel: false"),
                                             HasSubstr("wd_mult: 1.0}: max_lr 0.5 -> 0.02")))));
  for (Json& group : stored) group["lr"] = 0.3;
  EXPECT_EQ(MatchGroups("o", ListOf(ThreeGroups()), stored, {})->size(), 1u)
      << "the rate of the moment follows from the schedule";
}

TEST(ParamGroupsTest, TwoGroupsWithOneIdentityAreRefused) {
  Json stored = ListOf(ThreeGroups());
  stored.push_back(stored[1]);
  for (const GroupOptions& options : {GroupOptions(), kEither}) {
    EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, options),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("o has two groups with the same settings"),
                               HasSubstr("wd_mult: 0.0}"))));
  }
}

TEST(ParamGroupsTest, AGroupWithoutPartnerIsRefusedOrToldAsADifference) {
  Json stored = ListOf(ThreeGroups());
  stored[2]["lr_mult"] = 0.5;
  const auto both = AllOf(HasSubstr("o: this run has no group {is_decoupled_lr: false, "
                                    "is_expert_parallel: true, lr_mult: 0.5"),
                          HasSubstr("o: the checkpoint has no group {is_decoupled_lr: false, "
                                    "is_expert_parallel: true, lr_mult: 1.0"));
  EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(both, HasSubstr("checkpoint.load.override_groups=true"))));
  EXPECT_EQ(MatchGroups("o", ListOf(ThreeGroups()), stored, kEither)->size(), 2u);
  stored = ListOf(ThreeGroups());
  stored.erase(0);
  EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("which this run has")));
}

// An encoder that was frozen, or is now, has groups that the other side has not.
TEST(ParamGroupsTest, WhatTrainsNowOrDidBeforeMayBeWithoutPartner) {
  const std::string name = "mimo.a.optimizer.mimo.a.param_groups/shard_0_1";
  const Json all = ListOf(ThreeGroups());
  Json fewer = all;
  fewer.erase(1);
  const std::vector<std::string> states = {"mimo.a.optimizer.state.exp_avg.w"}, none;
  const std::vector<std::string> others = {"mimo.b.optimizer.state.exp_avg.w",
                                           "mimo.a.optimizer.state.param.w"};
  EXPECT_THAT(MatchGroups(name, all, fewer, GroupOptionsOf(name, states, none, false)),
              IsOkAndHolds(ElementsAre(HasSubstr("the checkpoint has no group"))));
  EXPECT_THAT(MatchGroups(name, fewer, all, GroupOptionsOf(name, none, states, false)),
              IsOkAndHolds(ElementsAre(HasSubstr("this run has no group"))));
  for (const auto& [kept, unused] : {std::pair(none, states), {others, others}}) {
    EXPECT_THAT(MatchGroups(name, all, fewer, GroupOptionsOf(name, kept, unused, false)),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(ParamGroupsTest, GroupsOfOneListHaveDoneTheSameUpdates) {
  Json stored = ListOf(ThreeGroups());
  stored[1]["step"] = 6;
  EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, kEither),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("has done 7 updates"), HasSubstr("wd_mult: 0.0} 6"))));
}

TEST(ParamGroupsTest, WhatIsNoListOfGroupsIsDamage) {
  for (const Json& stored : {Json(3), Json::object(), Json::array({1})}) {
    EXPECT_THAT(MatchGroups("o", ListOf(ThreeGroups()), stored, kEither),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("o is no list")));
  }
}

}  // namespace
}  // namespace hetero
