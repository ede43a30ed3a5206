#include "hetero/ckpt/plan/world_plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/params/shard.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename... Texts>
auto Refused(Texts... texts) {
  return StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(texts)...));
}

// A tensor of no memory, for plans.
CheckpointTensor Tensor(std::string key, std::vector<int64_t> shape, Box box, bool main = true,
                        DType dtype = DType::kF32) {
  return {.key = std::move(key),
          .dtype = dtype,
          .shape = std::move(shape),
          .pieces = {{.box = std::move(box), .main = main}}};
}

CheckpointObject Object(std::string_view key, std::vector<int64_t> offset,
                        std::vector<int64_t> shape, bool main = true) {
  return {.name = ObjectName(key, offset, shape).value(), .main = main};
}

absl::StatusOr<WorldPlan> Plan(const std::vector<CheckpointState>& states,
                               Distribution kind = Distribution::kSave) {
  std::vector<std::string> descriptions;
  for (const CheckpointState& state : states) descriptions.push_back(DescribeState(state));
  return MakeWorldPlan(descriptions, kind);
}

std::vector<int64_t> Mains(const WorldPlan& plan, std::string_view key) {
  std::vector<int64_t> mains;
  for (const WorldShard& shard : plan.tensors.find(key)->second.shards) {
    mains.insert(mains.end(), shard.mains.begin(), shard.mains.end());
  }
  return mains;
}

// An encoder of tp 2 dp 2 on ranks 0 to 3, a language model of tp 2 dp 2 ep 2 on 4 to 7.
std::vector<CheckpointState> TwoBranches() {
  const DimSharding tp{.axis = ShardAxis::kTp};
  const DimSharding ep{.axis = ShardAxis::kEp};
  const std::vector<ParameterSpec> encoder = {
      {.name = "enc.weight", .shape = {8, 4}, .dims = {tp, {}}},
      {.name = "enc.norm", .shape = {4}}};
  const std::vector<ParameterSpec> language = {
      {.name = "lm.weight", .shape = {16, 4}, .dims = {tp, {}}},
      {.name = "lm.router", .shape = {128, 4}},
      {.name = "lm.experts",
       .shape = {128, 2, 3},
       .dims = {ep, {}, {}},
       .gradient_group = GradientGroup::kExpert}};
  static std::vector<float> memory(1024);
  std::vector<CheckpointState> states(8);
  for (int64_t rank = 0; rank < 8; ++rank) {
    const int64_t in_tp = rank % 2, dp = rank % 4 / 2;
    std::vector<StateTensor> tensors;
    for (const ParameterSpec& spec : rank < 4 ? encoder : language) {
      const Shard shard =
          ShardOf(spec, {.tp = {.rank = in_tp, .size = 2}, .ep = {.rank = in_tp, .size = 2}})
              .value();
      tensors.push_back({.name = spec.name,
                         .shape = spec.shape,
                         .boxes = shard.boxes,
                         .replica = dp,
                         .local = TensorView(memory.data(), DType::kF32, shard.shape)});
    }
    states[rank].tensors = ToCheckpointTensors(tensors);
    const std::string branch = rank < 4 ? "mimo.encoder." : "mimo.language.";
    states[rank].objects = {Object(branch + "rng_state", {0, in_tp}, {1, 2}, dp == 0),
                            Object(branch + "param_groups", {}, {}, rank % 4 == 0)};
  }
  return states;
}

TEST(WorldPlanTest, WritersAreTheFirstOfEachSetOfReplicas) {
  const WorldPlan plan = Plan(TwoBranches()).value();
  EXPECT_THAT(Mains(plan, "enc.weight"), ElementsAre(0, 1));
  EXPECT_THAT(Mains(plan, "enc.norm"), ElementsAre(0));
  EXPECT_THAT(Mains(plan, "lm.weight"), ElementsAre(4, 5));
  EXPECT_THAT(Mains(plan, "lm.router"), ElementsAre(4));
  EXPECT_THAT(Mains(plan, "lm.experts"), ElementsAre(4, 5));
  EXPECT_THAT(plan.tensors.at("lm.experts").shards[0].holders, ElementsAre(4, 6));
  EXPECT_EQ(plan.writers.at("mimo.encoder.rng_state/shard_0.0_1.2"), 0);
  EXPECT_EQ(plan.writers.at("mimo.encoder.rng_state/shard_0.1_1.2"), 1);
  EXPECT_EQ(plan.writers.at("mimo.encoder.param_groups/shard_0_1"), 0);
  EXPECT_EQ(plan.writers.at("mimo.language.param_groups/shard_0_1"), 4);
  std::vector<int64_t> bytes(8);
  int64_t largest = 0;
  for (const auto& [key, tensor] : plan.tensors) {
    for (const WorldShard& shard : tensor.shards) {
      bytes[shard.owner] += shard.bytes;
      largest = std::max(largest, shard.bytes);
    }
  }
  for (const int64_t group : {0, 4}) {
    const auto [least, most] =
        std::minmax_element(bytes.begin() + group, bytes.begin() + group + 4);
    EXPECT_LE(*most - *least, largest);
  }
}

TEST(WorldPlanTest, TwoWritersOfAnObjectAreNamed) {
  // The name leaves out tp, so that both ranks of it claim to be the first.
  const CheckpointState state{.objects = {Object("mimo.a.param_groups", {}, {})}};
  EXPECT_THAT(Plan({state, state}), Refused("overlap", "mimo.a.param_groups", "rank 0 and rank 1"));
}

TEST(WorldPlanTest, MissingAndDoubleShardsAreNamed) {
  const CheckpointState upper{.tensors = {Tensor("w", {4, 8}, {{0, 0}, {2, 8}})}};
  const CheckpointState lower{.tensors = {Tensor("w", {4, 8}, {{2, 0}, {2, 8}})}};
  EXPECT_THAT(Plan({upper, {}}), Refused("not covered", "[2,0]+[2,8] of w"));
  EXPECT_THAT(Plan({upper, lower, lower}), Refused("overlap", "w", "rank 1", "rank 2"));
}

TEST(WorldPlanTest, RanksThatDisagreeAreNamed) {
  const CheckpointState half{.tensors = {Tensor("w", {4}, {{0}, {2}})}};
  const CheckpointState bf16{.tensors = {Tensor("w", {4}, {{2}, {2}}, true, DType::kBF16)}};
  const CheckpointState longer{.tensors = {Tensor("w", {5}, {{2}, {3}})}};
  EXPECT_THAT(Plan({half, bf16}), Refused("w is f32[4] on rank 0 and bf16[4] on rank 1"));
  EXPECT_THAT(Plan({half, longer}), Refused("w is f32[4] on rank 0 and f32[5] on rank 1"));
}

TEST(WorldPlanTest, ObjectsComeInAsManyShardsAsTheirNamesSay) {
  std::vector<CheckpointState> states;
  for (int64_t i = 0; i < 3; ++i) states.push_back({.objects = {Object("o", {i}, {4})}});
  EXPECT_THAT(Plan(states), Refused("of 4 shards of object o 3 are written"));
}

TEST(WorldPlanTest, ATiedCopyIsNeverWrittenByItsRankAlone) {
  const CheckpointState first{.tensors = {Tensor("embedding", {4}, {{0}, {4}})}};
  const CheckpointState last{.tensors = {Tensor("embedding", {4}, {{0}, {4}}, false)}};
  const WorldPlan plan = Plan({first, last}).value();
  ASSERT_EQ(plan.tensors.at("embedding").shards.size(), 1u);
  EXPECT_THAT(Mains(plan, "embedding"), ElementsAre(0));
  EXPECT_THAT(Plan({last, last}), Refused("not covered", "embedding"));
}

TEST(WorldPlanTest, TheHashFollowsTheStructure) {
  std::vector<CheckpointState> states = TwoBranches();
  const uint64_t hash = Plan(states).value().Hash();
  EXPECT_EQ(Plan(states).value().Hash(), hash);
  for (CheckpointState& state : states) {
    std::erase_if(state.tensors, [](const CheckpointTensor& t) { return t.key == "lm.router"; });
  }
  EXPECT_NE(Plan(states).value().Hash(), hash);
}

TEST(WorldPlanTest, ObjectNamesSayTheirShard) {
  const std::vector<int64_t> shape = {2, 2}, offset = {0, 1}, outside = {0, 2};
  EXPECT_THAT(ObjectName("language.rng_state", offset, shape),
              absl_testing::IsOkAndHolds("language.rng_state/shard_0.1_2.2"));
  EXPECT_THAT(ObjectName("a/b"), Refused("a/b"));
  EXPECT_THAT(ObjectName("a", outside, shape), Refused("[0,2]", "[2,2]"));
}

}  // namespace
}  // namespace hetero
