#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan_testing.h"
#include "hetero/grid/view.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Group Ranks(std::vector<int64_t> values) {
  Group ranks;
  for (const int64_t value : values) ranks.emplace_back(value);
  return ranks;
}

std::vector<int64_t> Counts(int64_t num_samples, int64_t rows = 1) {
  return std::vector<int64_t>(static_cast<size_t>(num_samples), rows);
}

struct FunnelCase {
  std::string label;
  GridSpec source;
  GridSpec destination;
  std::vector<std::pair<int64_t, int64_t>> links;  // leader to leader
  std::vector<Group> source_lanes;
  std::vector<Group> destination_lanes;
};

std::vector<FunnelCase> FunnelCases() {
  std::vector<FunnelCase> cases = {{"tp2dp2_to_tp2dp2",
                                    {.num_ranks = 4, .tp = 2},
                                    {.num_ranks = 4, .tp = 2, .rank_offset = 4},
                                    {{1, 4}, {3, 6}},
                                    {Ranks({0, 1}), Ranks({2, 3})},
                                    {Ranks({4, 5}), Ranks({6, 7})}},
                                   {"tp2dp2_to_tp4",
                                    {.num_ranks = 4, .tp = 2},
                                    {.num_ranks = 4, .tp = 4, .rank_offset = 4},
                                    {{1, 4}, {3, 4}},
                                    {Ranks({0, 1}), Ranks({2, 3})},
                                    {Ranks({4, 5, 6, 7})}},
                                   {"dp4_to_tp2pp2",
                                    {.num_ranks = 4},
                                    {.num_ranks = 4, .tp = 2, .pp = 2, .rank_offset = 4},
                                    {{0, 4}, {1, 4}, {2, 4}, {3, 4}},
                                    {Ranks({0}), Ranks({1}), Ranks({2}), Ranks({3})},
                                    {Ranks({4, 5})}},
                                   {"tp4_to_tp2dp2",
                                    {.num_ranks = 4, .tp = 4},
                                    {.num_ranks = 4, .tp = 2, .rank_offset = 4},
                                    {{3, 4}, {3, 6}},
                                    {Ranks({0, 1, 2, 3})},
                                    {Ranks({4, 5}), Ranks({6, 7})}},
                                   {"tp2pp2_to_dp4",
                                    {.num_ranks = 4, .tp = 2, .pp = 2},
                                    {.num_ranks = 4, .rank_offset = 4},
                                    {{3, 4}, {3, 5}, {3, 6}, {3, 7}},
                                    {Ranks({2, 3})},
                                    {Ranks({4}), Ranks({5}), Ranks({6}), Ranks({7})}},
                                   {"dp2_to_tp2pp3",
                                    {.num_ranks = 2},
                                    {.num_ranks = 6, .tp = 2, .pp = 3, .rank_offset = 2},
                                    {{0, 2}, {1, 2}},
                                    {Ranks({0}), Ranks({1})},
                                    {Ranks({2, 3})}},
                                   {"tp2dp2_to_tp2gtp2",
                                    {.num_ranks = 4, .tp = 2},
                                    {.num_ranks = 4, .tp = 2, .gtp_remat = 2, .rank_offset = 4},
                                    {{1, 4}, {3, 6}},
                                    {Ranks({0, 1}), Ranks({2, 3})},
                                    {Ranks({4, 5}), Ranks({6, 7})}}};
  FunnelCase wide = {
      "dp8_to_tp2dp32", {.num_ranks = 8}, {.num_ranks = 64, .tp = 2, .rank_offset = 8}, {}, {}, {}};
  for (int64_t rank = 0; rank < 8; ++rank) wide.source_lanes.push_back(Ranks({rank}));
  for (int64_t lane = 0; lane < 32; ++lane) {
    wide.links.emplace_back(lane / 4, 8 + 2 * lane);
    wide.destination_lanes.push_back(Ranks({8 + 2 * lane, 9 + 2 * lane}));
  }
  cases.push_back(wide);
  return cases;
}

class FunnelTest : public ::testing::TestWithParam<FunnelCase> {};

INSTANTIATE_TEST_SUITE_P(Layouts, FunnelTest, ::testing::ValuesIn(FunnelCases()),
                         [](const auto& info) { return info.param.label; });

TEST_P(FunnelTest, LinksLeadersAndBroadcastsInLanes) {
  const Grid source = MakeGrid(GetParam().source);
  const Grid destination = MakeGrid(GetParam().destination);
  const RowPlan plan =
      PlanLeaderFunnel(LastStage(source), FirstStage(destination),
                       Counts(std::max(source.num_lanes(), destination.num_lanes()), 3))
          .value();
  std::vector<std::pair<int64_t, int64_t>> links;
  for (const RowTransfer& transfer : plan.transfers) {
    links.emplace_back(transfer.source.value(), transfer.destination.value());
  }
  EXPECT_THAT(links, ElementsAreArray(GetParam().links));
  std::vector<Group> lanes;
  for (const ReplicaSet& set : plan.sources) lanes.push_back(set.ranks);
  EXPECT_THAT(lanes, ElementsAreArray(GetParam().source_lanes));
  lanes.clear();
  for (const ReplicaSet& set : plan.destinations) lanes.push_back(set.ranks);
  EXPECT_THAT(lanes, ElementsAreArray(GetParam().destination_lanes));
}

TEST(FunnelTest, LeadersFollowTheAxisOrderOfTheGrid) {
  struct Case {
    std::vector<AxisSize> axes;
    std::vector<int64_t> source_leaders;
    std::vector<int64_t> destination_leaders;
  };
  const auto shape = [](int64_t tp, int64_t pp, int64_t dp) {
    return std::vector<AxisSize>{
        {Axis::kTp, tp}, {Axis::kGtpRemat, 1}, {Axis::kCp, 1}, {Axis::kPp, pp}, {Axis::kDp, dp}};
  };
  const std::vector<AxisSize> canonical = {
      {Axis::kTp, 2}, {Axis::kGtpRemat, 1}, {Axis::kCp, 1}, {Axis::kDp, 2}, {Axis::kPp, 2}};
  for (const Case& c :
       {Case{shape(2, 2, 2), {3, 7}, {0, 4}}, Case{canonical, {5, 7}, {0, 2}},
        Case{shape(4, 2, 1), {7}, {0}}, Case{shape(1, 2, 4), {1, 3, 5, 7}, {0, 2, 4, 6}},
        Case{shape(2, 4, 1), {7}, {0}}}) {
    std::vector<AxisSize> expert;
    for (const AxisSize& axis : c.axes) {
      expert.push_back({axis.axis == Axis::kTp   ? Axis::kExptTp
                        : axis.axis == Axis::kCp ? Axis::kEp
                        : axis.axis == Axis::kDp ? Axis::kExptDp
                        : axis.axis == Axis::kPp ? Axis::kPp
                                                 : Axis::kExptGtpRemat,
                        axis.size});
    }
    const Grid grid = Grid::FromViews("m", GridView::Make(GlobalRank(0), c.axes).value(),
                                      GridView::Make(GlobalRank(0), expert).value())
                          .value();
    std::vector<int64_t> sources;
    std::vector<int64_t> destinations;
    for (int64_t lane = 0; lane < grid.num_lanes(); ++lane) {
      sources.push_back(grid.LaneRanks(LaneId(lane), grid.Size(Axis::kPp) - 1).back().value());
      destinations.push_back(grid.LaneRanks(LaneId(lane), 0).front().value());
    }
    EXPECT_THAT(sources, ElementsAreArray(c.source_leaders)) << grid.base().ToString();
    EXPECT_THAT(destinations, ElementsAreArray(c.destination_leaders)) << grid.base().ToString();
  }
}

// Stages of one module pass rows between ranks of equal coordinates: nothing is gathered.
TEST(BetweenStagesTest, EveryRankSendsAllItsRowsToItsNeighbour) {
  const Grid grid = MakeGrid({.num_ranks = 8, .tp = 2, .pp = 2});
  const RowPlan plan =
      PlanBetweenStages({&grid, 0}, {&grid, 1}, std::vector<int64_t>{3, 1, 0, 5}).value();
  EXPECT_THAT(plan.transfers, ElementsAre(RowTransfer{GlobalRank(0), 0, 2, GlobalRank(4), 0},
                                          RowTransfer{GlobalRank(1), 0, 2, GlobalRank(5), 0},
                                          RowTransfer{GlobalRank(2), 0, 3, GlobalRank(6), 0},
                                          RowTransfer{GlobalRank(3), 0, 3, GlobalRank(7), 0}));
  for (int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(SourceRows(plan, GlobalRank(rank)), rank < 2 ? 2 : 3);
    EXPECT_EQ(DestinationRows(plan, GlobalRank(rank + 4)), rank < 2 ? 2 : 3);
    EXPECT_EQ(FindReplicaSet(plan.destinations, GlobalRank(rank + 4))->ranks.size(), 1);
    EXPECT_EQ(FindReplicaSet(plan.destinations, GlobalRank(rank)), nullptr);
  }
}

TEST(BetweenStagesTest, NamesWhatDoesNotFit) {
  const Grid vision = MakeGrid({.name = "vision", .num_ranks = 2});
  const Grid language = MakeGrid({.name = "language", .num_ranks = 2, .cp = 2, .rank_offset = 2});
  EXPECT_THAT(PlanBetweenStages({&vision, 0}, {&language, 0}, std::vector<int64_t>{1, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "stages of one module, not of vision and language"));
  EXPECT_THAT(PlanBetweenStages({&vision, 0}, {&vision, 0}, std::vector<int64_t>{1, 1, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(PlanBetweenStages({&language, 0}, {&language, 0}, std::vector<int64_t>{1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("language.cp is 2")));
}

TEST(RowPlanTest, UnevenFanInReturnsWhatEachLaneSent) {
  const RowPlan plan = PlanLeaderFunnel(LastStage(MakeGrid({.num_ranks = 2})),
                                        FirstStage(MakeGrid({.num_ranks = 1, .rank_offset = 2})),
                                        std::vector<int64_t>{256, 64})
                           .value();
  EXPECT_THAT(Inverse(plan).transfers,
              ElementsAre(RowTransfer{GlobalRank(2), 0, 256, GlobalRank(0), 0},
                          RowTransfer{GlobalRank(2), 256, 64, GlobalRank(1), 0}));
}

TEST(RowPlanTest, ATextOnlyLaneIsCountedButNotSent) {
  const RowPlan plan = PlanLeaderFunnel(LastStage(MakeGrid({.num_ranks = 2})),
                                        FirstStage(MakeGrid({.num_ranks = 1, .rank_offset = 2})),
                                        std::vector<int64_t>{0, 64})
                           .value();
  EXPECT_THAT(plan.transfers, SizeIs(2));
  EXPECT_THAT(SendsOf(plan, GlobalRank(0)), IsEmpty());
  EXPECT_THAT(ReceivesOf(plan, GlobalRank(2)), SizeIs(1));
  EXPECT_THAT(CheckSourceRows(plan, GlobalRank(1), 60),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "rank 1 has 60 rows to send, its samples count 64"));
}

}  // namespace
}  // namespace hetero
