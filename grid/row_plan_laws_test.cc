// What holds for the plan of any edge: every row arrives once, blocks of lanes plan alike, and the
// inverse brings every row back.

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <ostream>
#include <random>
#include <span>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_blocks.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/plan_lanes.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan.h"
#include "hetero/grid/row_plan_testing.h"
#include "hetero/grid/view.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::SizeIs;

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

}  // namespace
}  // namespace hetero
