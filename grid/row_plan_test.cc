#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan_testing.h"
#include "hetero/grid/view.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
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

TEST(PlanLanesTest, CutsWhereEitherLaneEnds) {
  using T = std::tuple<int64_t, int64_t, int64_t, int64_t>;
  const auto plan = [](int64_t source, int64_t destination, int64_t samples) {
    const std::vector<LaneTransfer> transfers =
        PlanLanes(Counts(samples), source, destination).value();
    std::vector<T> result;
    for (const LaneTransfer& t : transfers) {
      result.emplace_back(t.source.value(), t.destination.value(), t.first_sample,
                          t.first_sample + t.num_samples);
    }
    return result;
  };
  EXPECT_THAT(plan(2, 4, 8),
              ElementsAre(T(0, 0, 0, 2), T(0, 1, 2, 4), T(1, 2, 4, 6), T(1, 3, 6, 8)));
  EXPECT_THAT(plan(4, 2, 4),
              ElementsAre(T(0, 0, 0, 1), T(1, 0, 1, 2), T(2, 1, 2, 3), T(3, 1, 3, 4)));
  EXPECT_THAT(plan(2, 3, 6),
              ElementsAre(T(0, 0, 0, 2), T(0, 1, 2, 3), T(1, 1, 3, 4), T(1, 2, 4, 6)));
  EXPECT_THAT(plan(3, 2, 6),
              ElementsAre(T(0, 0, 0, 2), T(1, 0, 2, 3), T(1, 1, 3, 4), T(2, 1, 4, 6)));
}

TEST(PlanLanesTest, RowsOfAPartAreTheCountsOfItsSamples) {
  const auto parts = [](std::vector<int64_t> counts, int64_t lanes) {
    std::vector<int64_t> rows;
    const std::vector<LaneTransfer> transfers = PlanLanes(counts, 1, lanes).value();
    for (const LaneTransfer& t : transfers) rows.push_back(t.num_rows);
    return rows;
  };
  EXPECT_THAT(parts({0, 3, 1, 2}, 2), ElementsAre(3, 3));
  EXPECT_THAT(parts({1, 3, 2}, 3), ElementsAre(1, 3, 2));
  EXPECT_THAT(parts({1, 5}, 1), ElementsAre(6));
  EXPECT_THAT(parts({4, 0, 0, 4}, 4), ElementsAre(4, 0, 0, 4));
  EXPECT_THAT(parts({577, 577, 577, 577}, 4), ElementsAre(577, 577, 577, 577));
}

TEST(PlanLanesTest, NamesTheLanesThatDoNotFit) {
  EXPECT_THAT(PlanLanes(Counts(3), 1, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "3 samples of one microbatch do not divide among 2 destination lanes; "
                       "nearest: 2 or 4 samples"));
  EXPECT_THAT(PlanLanes(Counts(2), 4, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "2 samples of one microbatch do not divide among 4 source lanes; nearest: "
                       "4 samples"));
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{1, -1}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "sample 1 has -1 rows, must be at least "
                       "0"));
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

TEST(RowPlanTest, UnevenFanInReturnsWhatEachLaneSent) {
  const RowPlan plan = PlanLeaderFunnel(LastStage(MakeGrid({.num_ranks = 2})),
                                        FirstStage(MakeGrid({.num_ranks = 1, .rank_offset = 2})),
                                        std::vector<int64_t>{256, 64})
                           .value();
  EXPECT_THAT(Inverse(plan).transfers,
              ElementsAre(RowTransfer{GlobalRank(2), 0, 256, GlobalRank(0), 0},
                          RowTransfer{GlobalRank(2), 256, 64, GlobalRank(1), 0}));
}

TEST(PlanLanesTest, RefusesCountsThatAreNone) {
  const std::vector<int64_t> rows = {4, 4};
  for (const int64_t lanes : {int64_t{0}, int64_t{-1}, int64_t{1} << 62}) {
    EXPECT_THAT(PlanLanes(rows, lanes, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("source lanes, must be 1 to")));
    EXPECT_THAT(PlanLanes(rows, 1, lanes), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("destination lanes, must be 1 to")));
  }
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{kHuge, kHuge}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sample 0 has")));
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{4, (int64_t{1} << 40) - 3}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest: 1099511627772")));
  EXPECT_TRUE(PlanLanes(std::vector<int64_t>{4, (int64_t{1} << 40) - 4}, 1, 1).ok());
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
