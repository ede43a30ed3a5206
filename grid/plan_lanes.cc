#include "hetero/grid/plan_lanes.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_rows.h"
#include "hetero/grid/token_shard.h"

namespace hetero {
namespace {

// Of each lane its ranks, of which that at `leader` owns all rows.
std::vector<ReplicaSet> LedLanes(LaneSide side, std::span<const int64_t> lane_rows, size_t leader) {
  std::vector<ReplicaSet> sets;
  for (size_t lane = 0; lane < lane_rows.size(); ++lane) {
    ReplicaSet& set = sets.emplace_back(ReplicaSet{
        .ranks = RanksOf(side, static_cast<int64_t>(lane)), .num_rows = lane_rows[lane]});
    for (size_t i = 0; i < set.ranks.size(); ++i) {
      set.owned.push_back({i > leader ? set.num_rows : 0, i == leader ? set.num_rows : 0});
    }
  }
  return sets;
}

}  // namespace

absl::StatusOr<std::vector<LaneTransfer>> PlanLanes(std::span<const int64_t> rows_per_sample,
                                                    int64_t source_lanes,
                                                    int64_t destination_lanes) {
  HETERO_RETURN_IF_ERROR(CheckCounts("rows", rows_per_sample));
  HETERO_RETURN_IF_ERROR(CheckSamples("source", rows_per_sample.size(), source_lanes));
  HETERO_RETURN_IF_ERROR(CheckSamples("destination", rows_per_sample.size(), destination_lanes));
  const std::vector<int64_t> sums = PrefixSums(rows_per_sample);
  const auto row_of = [&](int64_t sample) { return sums[static_cast<size_t>(sample)]; };
  const auto num_samples = static_cast<int64_t>(rows_per_sample.size());
  const int64_t per_source = num_samples / source_lanes;
  const int64_t per_destination = num_samples / destination_lanes;
  std::vector<LaneTransfer> transfers;
  for (int64_t sample = 0; sample < num_samples;) {
    const int64_t source = sample / per_source;
    const int64_t destination = sample / per_destination;
    const int64_t end = std::min((source + 1) * per_source, (destination + 1) * per_destination);
    transfers.push_back({.source = LaneId(source),
                         .destination = LaneId(destination),
                         .first_sample = sample,
                         .num_samples = end - sample,
                         .source_row = row_of(sample) - row_of(source * per_source),
                         .destination_row = row_of(sample) - row_of(destination * per_destination),
                         .num_rows = row_of(end) - row_of(sample)});
    sample = end;
  }
  return transfers;
}

absl::StatusOr<RowPlan> PlanLeaderFunnel(LaneSide source, LaneSide destination,
                                         std::span<const int64_t> rows_per_sample) {
  const int64_t source_lanes = source.lanes().count;
  const int64_t destination_lanes = destination.lanes().count;
  HETERO_ASSIGN_OR_RETURN(const std::vector<LaneTransfer> lane_transfers,
                          PlanLanes(rows_per_sample, source_lanes, destination_lanes));
  const auto last =
      static_cast<size_t>(source.grid->Size(Axis::kTp) * source.grid->Size(Axis::kCp) - 1);
  RowPlan plan;
  plan.sources = LedLanes(source, RowsOfLanes(rows_per_sample, source_lanes), last);
  plan.destinations = LedLanes(destination, RowsOfLanes(rows_per_sample, destination_lanes), 0);
  for (const LaneTransfer& lane : lane_transfers) {
    plan.transfers.push_back(
        {plan.sources[static_cast<size_t>(lane.source.value())].ranks.back(), lane.source_row,
         lane.num_rows,
         plan.destinations[static_cast<size_t>(lane.destination.value())].ranks.front(),
         lane.destination_row});
  }
  return plan;
}

absl::StatusOr<RowPlan> PlanBetweenStages(LaneSide source, LaneSide destination,
                                          std::span<const int64_t> rows_per_sample) {
  const Grid& grid = *source.grid;
  if (destination.grid->name() != grid.name()) {
    return absl::InvalidArgumentError(absl::StrCat("stages of one module, not of ", grid.name(),
                                                   " and ", destination.grid->name()));
  }
  HETERO_RETURN_IF_ERROR(CheckNoContext(grid));
  HETERO_RETURN_IF_ERROR(CheckCounts("rows", rows_per_sample));
  const int64_t num_lanes = source.lanes().count;
  HETERO_RETURN_IF_ERROR(CheckSamples(grid.name(), rows_per_sample.size(), num_lanes));
  const std::vector<int64_t> lane_rows = RowsOfLanes(rows_per_sample, num_lanes);
  RowPlan plan;
  for (size_t lane = 0; lane < lane_rows.size(); ++lane) {
    const Group from = RanksOf(source, static_cast<int64_t>(lane));
    const Group to = RanksOf(destination, static_cast<int64_t>(lane));
    const int64_t rows =
        TokenShard{.num_tokens = lane_rows[lane], .size = grid.Size(Axis::kTp)}.rows();
    for (size_t i = 0; i < from.size(); ++i) {
      plan.transfers.push_back({from[i], 0, rows, to[i], 0});
      plan.sources.push_back(Alone(from[i], rows));
      plan.destinations.push_back(Alone(to[i], rows));
    }
  }
  return plan;
}

}  // namespace hetero
