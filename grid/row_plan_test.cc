#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_blocks.h"
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

Grid MakeGrid(GridSpec spec) {
  if (spec.name.empty()) spec.name = "m";
  return Grid::Make(spec).value();
}

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

// A sample's rows as PlanOwners takes them, with the memory of its runs.
struct Placed {
  std::vector<IndexRange> runs;
  int64_t num_tokens = 8;
  std::optional<std::vector<LaneRows>> parts = {};

  int64_t num_rows() const {
    int64_t rows = 0;
    for (const IndexRange& run : runs) rows += run.count;
    return rows;
  }
};

std::vector<SampleRows> RowsOf(std::span<const Placed> samples) {
  std::vector<SampleRows> rows;
  for (const Placed& sample : samples) {
    rows.push_back({sample.num_rows(), sample.num_tokens, sample.runs});
    if (sample.parts.has_value()) rows.back().parts = *sample.parts;
  }
  return rows;
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

// What a buffer has behind its last row.
constexpr int64_t kPadding = -2;

// What executing a plan leaves in the buffers: each source rank starts with `inputs`.
std::map<GlobalRank, std::vector<int64_t>> Execute(
    const RowPlan& plan, const std::map<GlobalRank, std::vector<int64_t>>& inputs) {
  constexpr int64_t kUnset = -1;
  std::map<GlobalRank, std::vector<int64_t>> outputs;
  for (const ReplicaSet& set : plan.destinations) {
    for (const GlobalRank rank : set.ranks) {
      outputs[rank].assign(static_cast<size_t>(set.num_rows), kUnset);
      std::fill_n(outputs[rank].rbegin(), set.num_padding, kPadding);
    }
  }
  for (const RowTransfer& t : plan.transfers) {
    for (int64_t i = 0; i < t.num_rows; ++i) {
      int64_t& row = outputs.at(t.destination).at(static_cast<size_t>(t.destination_row + i));
      EXPECT_EQ(row, kUnset) << "delivered twice";
      row = inputs.at(t.source).at(static_cast<size_t>(t.source_row + i));
    }
  }
  for (const ReplicaSet& set : plan.destinations) {
    int64_t next = 0;
    for (size_t owner = 0; owner < set.ranks.size(); ++owner) {
      EXPECT_EQ(set.owned[owner].first, next) << "owned ranges must tile the buffer";
      next += set.owned[owner].count;
      for (int64_t row = set.owned[owner].first; row < next; ++row) {
        const int64_t value = outputs[set.ranks[owner]][static_cast<size_t>(row)];
        for (const GlobalRank rank : set.ranks) outputs[rank][static_cast<size_t>(row)] = value;
      }
    }
    EXPECT_EQ(next, set.num_rows);
  }
  return outputs;
}

// Of a sample: what of its tokens is a placeholder differs from one to the next, here and there it
// is none or all of them.
Placed RandomSample(std::mt19937_64& random, int64_t num_tokens) {
  Placed sample = {.runs = {}, .num_tokens = num_tokens};
  const uint32_t density = random() % 5;
  for (int64_t token = 0; token < num_tokens; ++token) {
    if (random() % 4 >= density) continue;
    if (!sample.runs.empty() && sample.runs.back().end() == token) {
      ++sample.runs.back().count;
    } else {
      sample.runs.push_back({token, 1});
    }
  }
  return sample;
}

// Rows from any lanes, in parts of which some are empty.
std::vector<LaneRows> RandomParts(std::mt19937_64& random, int64_t num_rows, int64_t num_lanes) {
  std::vector<LaneRows> parts;
  while (num_rows > 0) {
    const auto count = static_cast<int64_t>(random() % (static_cast<uint64_t>(num_rows) + 1));
    parts.push_back({LaneId(static_cast<int64_t>(random() % num_lanes)), count});
    num_rows -= count;
  }
  return parts;
}

// Modules of `lanes` lanes of `tp` ranks: from one to the other, on ranks of their own or shared.
struct Edge {
  int64_t source_lanes;
  int64_t source_tp;
  int64_t destination_lanes;
  int64_t destination_tp;
  bool colocated;
};

void PrintTo(const Edge& edge, std::ostream* out) {
  *out << edge.source_lanes << " lanes of " << edge.source_tp << " to " << edge.destination_lanes
       << " of " << edge.destination_tp << (edge.colocated ? ", colocated" : "");
}

std::vector<Edge> SmallEdges() {
  std::vector<Edge> edges;
  for (int64_t a = 1; a <= 4; ++a) {
    for (int64_t p = 1; p <= 4; ++p) {
      for (int64_t b = 1; b <= 4; ++b) {
        for (int64_t q = 1; q <= 4; ++q) {
          edges.push_back({a, p, b, q, false});
          if (a * p == b * q) edges.push_back({a, p, b, q, true});
        }
      }
    }
  }
  edges.push_back({8, 2, 2, 4, true});
  edges.push_back({3, 1, 2, 8, false});
  return edges;
}

enum class Builder { kFunnel, kOwners, kOwnersOfParts };

class PlanLawsTest : public ::testing::TestWithParam<Builder> {};

INSTANTIATE_TEST_SUITE_P(Builders, PlanLawsTest,
                         ::testing::Values(Builder::kFunnel, Builder::kOwners,
                                           Builder::kOwnersOfParts));

TEST_P(PlanLawsTest, EveryRowArrivesOnceAndTheInverseBringsItBack) {
  std::mt19937_64 random = FreshGenerator();
  const bool owners = GetParam() != Builder::kFunnel;
  const bool in_parts = GetParam() == Builder::kOwnersOfParts;
  for (const Edge& edge : SmallEdges()) {
    SCOPED_TRACE(::testing::PrintToString(edge));
    // The last stage of a pipeline and the first of another, where ranks are not shared.
    const int64_t pp = edge.colocated ? 1 : 1 + random() % 2;
    const Grid source = MakeGrid({.name = "images",
                                  .num_ranks = edge.source_lanes * edge.source_tp * pp,
                                  .tp = edge.source_tp,
                                  .pp = pp});
    const Grid destination =
        MakeGrid({.name = "language",
                  .num_ranks = edge.destination_lanes * edge.destination_tp * pp,
                  .tp = edge.destination_tp,
                  .pp = pp,
                  .rank_offset = edge.colocated ? 0 : source.num_ranks()});
    const int64_t num_samples = std::lcm(edge.source_lanes, edge.destination_lanes) *
                                (1 + static_cast<int64_t>(random() % 3));
    const int64_t num_tokens = 1 + random() % 9;
    std::vector<Placed> samples;
    std::vector<int64_t> counts;
    for (int64_t i = 0; i < num_samples; ++i) {
      samples.push_back(RandomSample(random, num_tokens));
      counts.push_back(samples.back().num_rows());
      if (in_parts) samples.back().parts = RandomParts(random, counts.back(), edge.source_lanes);
    }
    const LaneSide from = LastStage(source);
    const LaneSide to = FirstStage(destination);
    const auto build = [&](LaneSide from, LaneSide to, int64_t first, int64_t count) {
      const std::vector<SampleRows> rows = RowsOf(std::span(samples).subspan(first, count));
      return (owners ? PlanOwners(from, to, rows)
                     : PlanLeaderFunnel(from, to, std::span(counts).subspan(first, count)))
          .value();
    };
    const RowPlan plan = build(from, to, 0, num_samples);

    // What blocks of lanes plan on their own is the plan.
    RowPlan joined;
    const LaneBlocks blocks(source.num_lanes(), destination.num_lanes());
    for (int64_t b = 0; !in_parts && b < blocks.size(); ++b) {
      const auto rank_of = [](LaneSide side, LaneRange lanes) {
        return side.grid->LaneRanks(LaneId(lanes.first + lanes.count - 1), side.stage).front();
      };
      const LaneBlock block = BlockOfSource(from, to, rank_of(from, blocks.Sources(b)));
      const LaneBlock same = BlockOfDestination(from, to, rank_of(to, blocks.Destinations(b)));
      ASSERT_EQ(block.source.lanes(), same.source.lanes());
      ASSERT_EQ(block.destination.lanes(), same.destination.lanes());
      const RowPlan part = build(block.source, block.destination, block.FirstSample(num_samples),
                                 block.NumSamples(num_samples));
      joined.transfers.insert(joined.transfers.end(), part.transfers.begin(), part.transfers.end());
      joined.sources.insert(joined.sources.end(), part.sources.begin(), part.sources.end());
      joined.destinations.insert(joined.destinations.end(), part.destinations.begin(),
                                 part.destinations.end());
    }
    if (!in_parts) {
      ASSERT_EQ(joined, plan);
    }

    // A row's value is the number of its token in the microbatch. Of each lane, its rows.
    const auto lane_rows = [&](const Grid& grid, LaneId lane) {
      const int64_t per_lane = num_samples / grid.num_lanes();
      std::vector<int64_t> rows;
      for (int64_t i = lane.value() * per_lane; i < (lane.value() + 1) * per_lane; ++i) {
        for (const IndexRange& run : samples[i].runs) {
          for (int64_t k = run.first; k < run.end(); ++k) rows.push_back(i * num_tokens + k);
        }
      }
      return rows;
    };
    const auto rows_of_parts = [&](LaneId lane) {
      std::vector<int64_t> rows;
      for (int64_t i = 0; i < num_samples; ++i) {
        std::vector<int64_t> of_sample;
        for (const IndexRange& run : samples[i].runs) {
          for (int64_t k = run.first; k < run.end(); ++k) of_sample.push_back(i * num_tokens + k);
        }
        auto next = of_sample.begin();
        for (const LaneRows& part : *samples[i].parts) {
          if (part.lane == lane) rows.insert(rows.end(), next, next + part.num_rows);
          next += part.num_rows;
        }
      }
      return rows;
    };
    std::map<GlobalRank, std::vector<int64_t>> inputs;
    for (const ReplicaSet& set : plan.sources) {
      for (const GlobalRank rank : set.ranks) {
        const LaneId lane = source.LaneOf(rank);
        std::vector<int64_t> rows = in_parts ? rows_of_parts(lane) : lane_rows(source, lane);
        if (owners) {
          // Equal shares, zeros behind the last row.
          const int64_t tp = edge.source_tp;
          const int64_t share = (std::ssize(rows) + tp - 1) / tp;
          rows.resize(share * tp, kPadding);
          rows = {rows.begin() + source.Coord(rank, Axis::kTp) * share,
                  rows.begin() + (source.Coord(rank, Axis::kTp) + 1) * share};
        }
        ASSERT_THAT(CheckSourceRows(plan, rank, std::ssize(rows)), IsOk());
        inputs[rank] = std::move(rows);
      }
    }
    const auto outputs = Execute(plan, inputs);
    ASSERT_THAT(outputs, SizeIs(edge.destination_lanes * edge.destination_tp));
    const int64_t tokens_of_lane = num_samples / edge.destination_lanes * num_tokens;
    const int64_t share = (tokens_of_lane + edge.destination_tp - 1) / edge.destination_tp;
    for (const auto& [rank, rows] : outputs) {
      ASSERT_EQ(DestinationRows(plan, rank), std::ssize(rows));
      const LaneId lane = destination.LaneOf(rank);
      std::vector<int64_t> expected = lane_rows(destination, lane);
      if (owners) {
        std::erase_if(expected, [&](int64_t token) {
          return (token - lane.value() * tokens_of_lane) / share !=
                 destination.Coord(rank, Axis::kTp);
        });
      }
      ASSERT_EQ(rows, expected) << "rank " << rank;
    }

    ASSERT_EQ(Execute(Inverse(plan), outputs), inputs);
    ASSERT_EQ(Inverse(Inverse(plan)), plan);
    size_t sends = 0;
    size_t receives = 0;
    for (const auto& [rank, rows] : inputs) sends += SendsOf(plan, rank).size();
    for (const auto& [rank, rows] : outputs) receives += ReceivesOf(plan, rank).size();
    const auto empty =
        static_cast<size_t>(std::count_if(plan.transfers.begin(), plan.transfers.end(),
                                          [](const RowTransfer& t) { return t.num_rows == 0; }));
    ASSERT_EQ(sends + empty, plan.transfers.size());
    ASSERT_EQ(receives + empty, plan.transfers.size());
  }
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
