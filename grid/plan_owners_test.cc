#include "hetero/grid/plan_owners.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"
#include "hetero/grid/row_plan_testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// An edge may join any stages: here the second of three to the first of two.
TEST(OwnersTest, AnEdgeJoinsAnyStages) {
  const Grid source = MakeGrid({.num_ranks = 3, .pp = 3});
  const Grid destination = MakeGrid({.num_ranks = 2, .pp = 2, .rank_offset = 3});
  const std::vector<Placed> samples = {{.runs = {{0, 2}}}};
  const RowPlan plan = PlanOwners({&source, 1}, {&destination, 1}, RowsOf(samples)).value();
  EXPECT_THAT(plan.transfers, ElementsAre(RowTransfer{GlobalRank(1), 0, 2, GlobalRank(4), 0}));
}

TEST(OwnersTest, RowsGoToTheRankOfTheirToken) {
  // Two samples of 7 tokens on 2 ranks: tokens 0 to 6 and 7 to 13.
  const std::vector<Placed> samples = {{.runs = {{2, 3}, {6, 1}}, .num_tokens = 7},
                                       {.runs = {{0, 2}}, .num_tokens = 7}};
  const Grid source = MakeGrid({.num_ranks = 4, .tp = 4});
  const Grid destination = MakeGrid({.num_ranks = 2, .tp = 2, .rank_offset = 4});
  const RowPlan plan =
      PlanOwners(LastStage(source), FirstStage(destination), RowsOf(samples)).value();
  EXPECT_THAT(plan.transfers, ElementsAre(RowTransfer{GlobalRank(0), 0, 2, GlobalRank(4), 0},
                                          RowTransfer{GlobalRank(1), 0, 2, GlobalRank(4), 2},
                                          RowTransfer{GlobalRank(2), 0, 2, GlobalRank(5), 0}));
  EXPECT_EQ(DestinationRows(plan, GlobalRank(4)), 4);
  EXPECT_EQ(DestinationRows(plan, GlobalRank(5)), 2);
  // Six rows on four ranks: the last has padding alone.
  for (int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(SourceRows(plan, GlobalRank(rank)), 2);
    EXPECT_EQ(FindReplicaSet(plan.sources, GlobalRank(rank))->num_padding, rank < 3 ? 0 : 2);
  }
}

// On the same ranks what a rank owns at both ends stays there.
TEST(OwnersTest, ModulesMayShareTheirRanks) {
  const Grid source = MakeGrid({.num_ranks = 2});
  const Grid destination = MakeGrid({.num_ranks = 2, .tp = 2});
  const std::vector<Placed> samples = {{.runs = {{1, 4}}}, {.runs = {{0, 2}}}};
  const auto to = [&](const Grid& grid) {
    return PlanOwners(LastStage(source), FirstStage(grid), RowsOf(samples))->transfers;
  };
  EXPECT_THAT(to(source), ElementsAre(RowTransfer{GlobalRank(0), 0, 4, GlobalRank(0), 0},
                                      RowTransfer{GlobalRank(1), 0, 2, GlobalRank(1), 0}));
  EXPECT_EQ(to(destination), to(source));
}

TEST(OwnersTest, RefusesPartsThatAreNotTheRowsOfTheSample) {
  const Grid source = MakeGrid({.num_ranks = 2});
  const Grid destination = MakeGrid({.name = "language", .num_ranks = 1});
  const auto error = [&](std::vector<LaneRows> parts) {
    const std::vector<Placed> samples = {{.runs = {{0, 3}}, .parts = std::move(parts)},
                                         {.runs = {}}};
    return PlanOwners(LastStage(source), FirstStage(destination), RowsOf(samples)).status();
  };
  EXPECT_THAT(error({{LaneId(1), 1}, {LaneId(0), 2}}), IsOk());
  EXPECT_THAT(error({{LaneId(1), 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "sample 0 has 3 rows, source lanes have 2 of them"));
  EXPECT_THAT(error({{LaneId(1), 2}, {LaneId(0), 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("sample 0 has 2 rows from source lane 0, must be at most the 1")));
  for (const LaneRows& wrong : {LaneRows{LaneId(2), 3}, {LaneId(-1), 3}, {LaneId(0), -1}}) {
    EXPECT_THAT(error({wrong}), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(OwnersTest, NamesWhatDoesNotFit) {
  const Grid source = MakeGrid({.num_ranks = 1});
  const auto error = [&](const Grid& to, std::vector<IndexRange> runs, int64_t num_rows) {
    const std::vector<SampleRows> samples = {{num_rows, 8, runs}};
    return PlanOwners(LastStage(source), FirstStage(to), samples).status();
  };
  const Grid destination = MakeGrid({.name = "language", .num_ranks = 2, .tp = 2});
  EXPECT_THAT(error(destination, {{0, 1}, {3, 2}}, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "sample 0 has 2 rows for 3 of its tokens; must be one a token"));
  EXPECT_THAT(error(destination, {{2, 3}, {4, 1}}, 4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "sample 0 has rows for 1 tokens from 4 on, must be tokens of [5, 8) in "
                       "ascending order"));
  for (const std::vector<IndexRange>& runs : std::vector<std::vector<IndexRange>>{
           {{7, 2}}, {{-1, 2}}, {{3, 0}}, {{0, std::numeric_limits<int64_t>::max()}}}) {
    EXPECT_THAT(error(destination, runs, 2), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(error(MakeGrid({.name = "language", .num_ranks = 2, .cp = 2}), {{0, 1}}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("language.cp is 2")));
}

}  // namespace
}  // namespace hetero
