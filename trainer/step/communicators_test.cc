#include "hetero/trainer/step/communicators.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/module_grid.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

using ::testing::IsEmpty;

Group Ranks(std::vector<int64_t> values) {
  Group ranks;
  for (const int64_t value : values) ranks.emplace_back(value);
  return ranks;
}

// A norm, the rows of two groups of which each has a whole block, and experts.
ParameterTable Table(bool experts, bool trainable = true) {
  std::vector<ParameterSpec> specs = {
      {.name = "norm", .shape = {4}, .partial_over_tp = true, .trainable = trainable},
      {.name = "qkv",
       .shape = {24, 3},
       .dims = {{ShardAxis::kTp, {{8}, {4, /*whole=*/true}}, /*units=*/2}, {}},
       .trainable = trainable}};
  if (experts) {
    specs.push_back({.name = "experts",
                     .shape = {4, 2, 3},
                     .dims = {{ShardAxis::kEp}, {ShardAxis::kExptTp}, {}},
                     .gradient_group = GradientGroup::kExpert,
                     .trainable = trainable});
  }
  return ParameterTable::Make(std::move(specs)).value();
}

// None for a null communicator.
Group MembersOf(const Communicator* communicator) {
  if (communicator == nullptr) return {};
  return {communicator->members().begin(), communicator->members().end()};
}

TEST(LayerCommunicatorsTest, JoinTheRanksOfEachFamilyThatHasPeers) {
  const Grid grid =
      Grid::Make({.name = "language", .num_ranks = 8, .tp = 2, .ep = 4, .rank_offset = 8}).value();
  const GlobalRank rank(11);
  const auto factory = LoopbackFactory(rank, 16);
  const LayerCommunicators dense =
      MakeLayerCommunicators(grid, Table(false), rank, *factory).value();
  EXPECT_EQ(dense.owned.size(), 1);
  EXPECT_EQ(MembersOf(dense.by_family.Of(Family::kTp)), Ranks({10, 11}));
  EXPECT_EQ(dense.by_family.Of(Family::kTpEp), nullptr);

  const LayerCommunicators made = MakeLayerCommunicators(grid, Table(true), rank, *factory).value();
  EXPECT_EQ(MembersOf(made.by_family.Of(Family::kTp)), Ranks({10, 11}));
  EXPECT_EQ(MembersOf(made.by_family.Of(Family::kTpEp)), Ranks({8, 9, 10, 11}));
  EXPECT_EQ(MembersOf(made.by_family.Of(Family::kTpDpCp)).size(), 8);
}

TEST(GradientCommunicatorsTest, JoinTheRanksThatShareGradients) {
  const Grid grid =
      Grid::Make({.name = "language", .num_ranks = 8, .tp = 4, .ep = 2, .expt_tp = 2}).value();
  const GlobalRank rank(6);
  const auto gradients = [&](const ParameterTable& table) {
    const auto factory = LoopbackFactory(rank, 8);
    MemoryLedger memory;
    const auto store =
        ParameterStore::Create(table, {.tp = {2, 4}, .ep = {1, 2}, .expt_tp = {0, 2}},
                               Device{.kind = DeviceKind::kShapeOnly}, memory)
            .value();
    return MakeGradientCommunicators("language.0", grid, *store, rank, *factory).value();
  };
  const GradientCommunicators made = gradients(Table(true));
  EXPECT_EQ(MembersOf(made.groups.dense), Ranks({2, 6}));
  EXPECT_EQ(MembersOf(made.groups.expert), Ranks({2, 6}));
  // Two ranks hold the whole block of a group, all four the norm.
  EXPECT_EQ(MembersOf(made.groups.partial.at(2)), Ranks({6, 7}));
  EXPECT_EQ(MembersOf(made.groups.partial.at(4)), Ranks({4, 5, 6, 7}));
  EXPECT_THAT(gradients(Table(true, /*trainable=*/false)).owned, IsEmpty());
  EXPECT_EQ(gradients(Table(false)).groups.expert, nullptr);
}

}  // namespace
}  // namespace hetero
