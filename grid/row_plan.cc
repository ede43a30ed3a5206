#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

std::vector<int64_t> PrefixSums(std::span<const int64_t> counts) {
  std::vector<int64_t> sums = {0};
  for (const int64_t count : counts) sums.push_back(sums.back() + count);
  return sums;
}

// Rows of each of `num_lanes` lanes.
std::vector<int64_t> RowsOfLanes(std::span<const int64_t> rows_per_sample, int64_t num_lanes) {
  const std::vector<int64_t> sums = PrefixSums(rows_per_sample);
  const size_t per_lane = rows_per_sample.size() / static_cast<size_t>(num_lanes);
  std::vector<int64_t> rows;
  for (size_t first = 0; first + per_lane < sums.size(); first += per_lane) {
    rows.push_back(sums[first + per_lane] - sums[first]);
  }
  return rows;
}

// Rows of a microbatch at most: their bytes still fit in 64 bits, whatever their width.
constexpr int64_t kMaxRows = int64_t{1} << 40;

absl::Status CheckRows(std::span<const int64_t> rows_per_sample) {
  int64_t sum = 0;
  for (size_t sample = 0; sample < rows_per_sample.size(); ++sample) {
    const int64_t rows = rows_per_sample[sample];
    if (rows < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", sample, " has ", rows, " rows, must be at least 0"));
    }
    if (rows > kMaxRows - sum) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", sample, " has ", rows, " rows after the ", sum,
                       " of those before it, must be at most ", kMaxRows,
                       " together; nearest: ", kMaxRows - sum));
    }
    sum += rows;
  }
  return absl::OkStatus();
}

absl::Status CheckSamples(std::string_view end, size_t num_samples, int64_t lanes) {
  if (lanes < 1 || lanes > kMaxRanks) {
    return absl::InvalidArgumentError(absl::StrCat(lanes, " ", end, " lanes, must be 1 to ",
                                                   kMaxRanks,
                                                   "; nearest: ", lanes < 1 ? 1 : kMaxRanks));
  }
  const auto samples = static_cast<int64_t>(num_samples);
  if (samples > 0 && samples % lanes == 0) return absl::OkStatus();
  const int64_t above = (samples / lanes + 1) * lanes;
  return absl::InvalidArgumentError(absl::StrCat(
      samples, " samples of one microbatch do not divide among ", lanes, " ", end,
      " lanes; nearest: ", above - lanes > 0 ? absl::StrCat(above - lanes, " or ") : "", above,
      " samples"));
}

// Ranks of a lane, of which `num_owners` starting at position `first_owner` own near-equal slices.
ReplicaSet SlicedSet(Group ranks, int64_t num_rows, size_t first_owner, size_t num_owners) {
  ReplicaSet set = {.ranks = std::move(ranks), .num_rows = num_rows, .owned = {}};
  int64_t first = 0;
  for (size_t i = 0; i < set.ranks.size(); ++i) {
    int64_t count = 0;
    if (i >= first_owner && i < first_owner + num_owners) {
      const auto slice = static_cast<int64_t>(i - first_owner);
      const auto slices = static_cast<int64_t>(num_owners);
      count = num_rows / slices + (slice < num_rows % slices ? 1 : 0);
    }
    set.owned.push_back({first, count});
    first += count;
  }
  return set;
}

// Position in `set` of the rank that owns `row`.
size_t OwnerOf(const ReplicaSet& set, int64_t row) {
  size_t i = 0;
  while (row >= set.owned[i].first + set.owned[i].count) ++i;
  return i;
}

int64_t OwnedEnd(const ReplicaSet& set, size_t i) {
  return set.owned[i].first + set.owned[i].count;
}

struct Ownership {
  size_t first_owner = 0;
  size_t num_owners = 1;
};

// Ranks of lane `index` of those of `side`.
Group RanksOf(LaneSide side, int64_t index) {
  return side.grid->LaneRanks(LaneId(side.lanes().first + index), side.stage);
}

std::vector<ReplicaSet> LaneSets(LaneSide side, std::span<const int64_t> lane_rows,
                                 Ownership ownership) {
  std::vector<ReplicaSet> sets;
  for (size_t lane = 0; lane < lane_rows.size(); ++lane) {
    sets.push_back(SlicedSet(RanksOf(side, static_cast<int64_t>(lane)), lane_rows[lane],
                             ownership.first_owner, ownership.num_owners));
  }
  return sets;
}

size_t LaneSize(const Grid& grid) {
  return static_cast<size_t>(grid.Size(Axis::kTp) * grid.Size(Axis::kCp));
}

const ReplicaSet& SetOf(std::span<const ReplicaSet> sets, LaneId lane) {
  return sets[static_cast<size_t>(lane.value())];
}

// The rank a zero-row transfer of the lane is booked on.
GlobalRank FirstOwner(const ReplicaSet& set, Ownership ownership) {
  return set.ranks[ownership.first_owner];
}

// Cuts every lane transfer where the owner changes on either end.
absl::StatusOr<RowPlan> PlanOwned(LaneSide source, LaneSide destination,
                                  std::span<const int64_t> rows_per_sample, Ownership senders,
                                  Ownership receivers) {
  const int64_t source_lanes = source.lanes().count;
  const int64_t destination_lanes = destination.lanes().count;
  HETERO_ASSIGN_OR_RETURN(const std::vector<LaneTransfer> lane_transfers,
                          PlanLanes(rows_per_sample, source_lanes, destination_lanes));
  RowPlan plan;
  plan.sources = LaneSets(source, RowsOfLanes(rows_per_sample, source_lanes), senders);
  plan.destinations =
      LaneSets(destination, RowsOfLanes(rows_per_sample, destination_lanes), receivers);
  for (const LaneTransfer& lane : lane_transfers) {
    const ReplicaSet& from = SetOf(plan.sources, lane.source);
    const ReplicaSet& to = SetOf(plan.destinations, lane.destination);
    if (lane.num_rows == 0) {
      plan.transfers.push_back({FirstOwner(from, senders), lane.source_row, 0,
                                FirstOwner(to, receivers), lane.destination_row});
    }
    for (int64_t done = 0; done < lane.num_rows;) {
      const int64_t source_row = lane.source_row + done;
      const int64_t destination_row = lane.destination_row + done;
      const size_t sender = OwnerOf(from, source_row);
      const size_t receiver = OwnerOf(to, destination_row);
      const int64_t num_rows = std::min({lane.num_rows - done, OwnedEnd(from, sender) - source_row,
                                         OwnedEnd(to, receiver) - destination_row});
      plan.transfers.push_back(
          {from.ranks[sender], source_row, num_rows, to.ranks[receiver], destination_row});
      done += num_rows;
    }
  }
  return plan;
}

LaneBlock BlockAt(LaneSide source, LaneSide destination, const LaneBlocks& blocks, int64_t index) {
  source.only = blocks.Sources(index);
  destination.only = blocks.Destinations(index);
  return {source, destination, index, blocks.size()};
}

}  // namespace

absl::StatusOr<std::vector<LaneTransfer>> PlanLanes(std::span<const int64_t> rows_per_sample,
                                                    int64_t source_lanes,
                                                    int64_t destination_lanes) {
  HETERO_RETURN_IF_ERROR(CheckRows(rows_per_sample));
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

LaneBlock BlockOfSource(LaneSide source, LaneSide destination, GlobalRank rank) {
  const LaneBlocks blocks(source.grid->num_lanes(), destination.grid->num_lanes());
  return BlockAt(source, destination, blocks, blocks.OfSource(source.grid->LaneOf(rank)));
}

LaneBlock BlockOfDestination(LaneSide source, LaneSide destination, GlobalRank rank) {
  const LaneBlocks blocks(source.grid->num_lanes(), destination.grid->num_lanes());
  return BlockAt(source, destination, blocks, blocks.OfDestination(destination.grid->LaneOf(rank)));
}

LaneSide FirstStage(const Grid& grid) { return {&grid, 0}; }

LaneSide LastStage(const Grid& grid) { return {&grid, grid.Size(Axis::kPp) - 1}; }

absl::StatusOr<RowPlan> PlanLeaderFunnel(LaneSide source, LaneSide destination,
                                         std::span<const int64_t> rows_per_sample) {
  return PlanOwned(source, destination, rows_per_sample, {LaneSize(*source.grid) - 1, 1}, {0, 1});
}

absl::StatusOr<RowPlan> PlanSliced(LaneSide source, LaneSide destination,
                                   std::span<const int64_t> rows_per_sample) {
  const size_t links = std::min(LaneSize(*source.grid), LaneSize(*destination.grid));
  return PlanOwned(source, destination, rows_per_sample, {0, links}, {0, links});
}

absl::StatusOr<RowPlan> PlanBetweenStages(LaneSide source, LaneSide destination,
                                          std::span<const int64_t> rows_per_sample) {
  const Grid& grid = *source.grid;
  if (destination.grid->name() != grid.name()) {
    return absl::InvalidArgumentError(absl::StrCat("stages of one module, not of ", grid.name(),
                                                   " and ", destination.grid->name()));
  }
  HETERO_RETURN_IF_ERROR(CheckRows(rows_per_sample));
  const int64_t num_lanes = source.lanes().count;
  HETERO_RETURN_IF_ERROR(CheckSamples(grid.name(), rows_per_sample.size(), num_lanes));
  const std::vector<int64_t> rows = RowsOfLanes(rows_per_sample, num_lanes);
  RowPlan plan;
  for (size_t lane = 0; lane < rows.size(); ++lane) {
    const Group from = RanksOf(source, static_cast<int64_t>(lane));
    const Group to = RanksOf(destination, static_cast<int64_t>(lane));
    for (size_t i = 0; i < from.size(); ++i) {
      plan.transfers.push_back({from[i], 0, rows[lane], to[i], 0});
      plan.sources.push_back({{from[i]}, rows[lane], {{0, rows[lane]}}});
      plan.destinations.push_back({{to[i]}, rows[lane], {{0, rows[lane]}}});
    }
  }
  return plan;
}

absl::StatusOr<RowPlan> PlanSequenceOwners(LaneSide source, LaneSide destination,
                                           std::span<const int64_t> rows_per_sample,
                                           std::span<const int64_t> positions,
                                           int64_t sequence_length) {
  const int64_t tp = destination.grid->Size(Axis::kTp);
  if (const int64_t cp = destination.grid->Size(Axis::kCp); cp != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(destination.grid->name(), ".cp is ", cp,
                     "; delivery to sequence owners needs cp 1, nearest: 1"));
  }
  if (sequence_length < tp || sequence_length % tp != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sequence length ", sequence_length, " does not divide among ", destination.grid->name(),
        ".tp ", tp, "; nearest: ", (sequence_length / tp + 1) * tp));
  }
  HETERO_ASSIGN_OR_RETURN(
      const std::vector<LaneTransfer> lane_transfers,
      PlanLanes(rows_per_sample, source.lanes().count, destination.lanes().count));
  const std::vector<int64_t> sums = PrefixSums(rows_per_sample);
  if (static_cast<int64_t>(positions.size()) != sums.back()) {
    return absl::InvalidArgumentError(absl::StrCat(positions.size(), " positions for ", sums.back(),
                                                   " rows; there must be one a row"));
  }
  for (size_t row = 0; row < positions.size(); ++row) {
    if (positions[row] >= 0 && positions[row] < sequence_length) continue;
    return absl::InvalidArgumentError(absl::StrCat("row ", row, " has position ", positions[row],
                                                   ", must be in [0, ", sequence_length, ")"));
  }

  RowPlan plan;
  plan.sources = LaneSets(source, RowsOfLanes(rows_per_sample, source.lanes().count),
                          {0, LaneSize(*source.grid)});
  for (int64_t lane = 0; lane < destination.lanes().count; ++lane) {
    for (const GlobalRank rank : RanksOf(destination, lane)) {
      plan.destinations.push_back({.ranks = {rank}, .num_rows = 0, .owned = {{0, 0}}});
    }
  }
  for (const LaneTransfer& lane : lane_transfers) {
    const ReplicaSet& from = SetOf(plan.sources, lane.source);
    ReplicaSet* const owners =
        &plan.destinations[static_cast<size_t>(lane.destination.value() * tp)];
    const int64_t first_row = sums[static_cast<size_t>(lane.first_sample)];
    if (lane.num_rows == 0) {
      plan.transfers.push_back(
          {from.ranks.front(), lane.source_row, 0, owners->ranks.front(), owners->num_rows});
    }
    const size_t first_transfer = plan.transfers.size();
    for (int64_t i = 0; i < lane.num_rows; ++i) {
      const int64_t position = positions[static_cast<size_t>(first_row + i)];
      const GlobalRank sender = from.ranks[OwnerOf(from, lane.source_row + i)];
      ReplicaSet& to = owners[position / (sequence_length / tp)];
      const int64_t destination_row = to.num_rows++;
      to.owned[0].count = to.num_rows;
      if (plan.transfers.size() > first_transfer && plan.transfers.back().source == sender &&
          plan.transfers.back().destination == to.ranks[0]) {
        ++plan.transfers.back().num_rows;
      } else {
        plan.transfers.push_back({sender, lane.source_row + i, 1, to.ranks[0], destination_row});
      }
    }
  }
  return plan;
}

absl::StatusOr<RowPlan> PlanColocated(LaneSide from, LaneSide to,
                                      std::span<const int64_t> rows_per_sample) {
  const Grid& source = *from.grid;
  const Grid& destination = *to.grid;
  if (source.first_rank() != destination.first_rank() ||
      source.num_ranks() != destination.num_ranks()) {
    return absl::InvalidArgumentError(absl::StrCat("colocated grids must be on the same ranks; ",
                                                   source.name(), " has ", source.base().ToString(),
                                                   ", ", destination.name(), " has ",
                                                   destination.base().ToString()));
  }
  for (const Grid* grid : {&source, &destination}) {
    for (const Axis axis : {Axis::kPp, Axis::kCp}) {
      if (grid->Size(axis) == 1) continue;
      return absl::InvalidArgumentError(absl::StrCat(grid->name(), ".", AxisName(axis), " is ",
                                                     grid->Size(axis),
                                                     ", colocated grids need 1; nearest: 1"));
    }
  }
  const int64_t source_lanes = from.lanes().count;
  const int64_t destination_lanes = to.lanes().count;
  const int64_t scale =
      std::max(source_lanes, destination_lanes) / std::min(source_lanes, destination_lanes);
  if (std::min(source_lanes, destination_lanes) * scale !=
      std::max(source_lanes, destination_lanes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source.name(), " has ", source_lanes, " lanes, ", destination.name(), " has ",
                     destination_lanes, "; of colocated grids one count must divide the other"));
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<LaneTransfer> lane_transfers,
                          PlanLanes(rows_per_sample, source_lanes, destination_lanes));

  RowPlan plan;
  const bool gather = source_lanes > destination_lanes;
  // The grid with more lanes decides which ranks gather from each other.
  const LaneSide narrow = gather ? from : to;
  std::vector<ReplicaSet>& gathered = gather ? plan.destinations : plan.sources;
  std::vector<ReplicaSet>& alone = gather ? plan.sources : plan.destinations;
  const std::vector<int64_t> wide_rows =
      RowsOfLanes(rows_per_sample, std::min(source_lanes, destination_lanes));
  const auto ranks_per_lane = static_cast<size_t>(narrow.grid->Size(Axis::kTp));
  for (size_t first = 0; first < lane_transfers.size(); first += static_cast<size_t>(scale)) {
    for (size_t t = 0; t < ranks_per_lane; ++t) {
      ReplicaSet set;
      set.num_rows = wide_rows[first / static_cast<size_t>(scale)];
      for (size_t i = first; i < first + static_cast<size_t>(scale); ++i) {
        const LaneTransfer& lane = lane_transfers[i];
        const LaneId own = gather ? lane.source : lane.destination;
        const GlobalRank rank = RanksOf(narrow, own.value())[t];
        if (source.LaneOf(rank).value() != from.lanes().first + lane.source.value() ||
            destination.LaneOf(rank).value() != to.lanes().first + lane.destination.value()) {
          return absl::InvalidArgumentError(absl::StrCat(
              "rank ", rank, " is in lane ", source.LaneOf(rank), " of ", source.name(),
              " and lane ", destination.LaneOf(rank), " of ", destination.name(),
              ", which share no samples; colocated grids need tp before dp in both"));
        }
        set.ranks.push_back(rank);
        set.owned.push_back({gather ? lane.destination_row : lane.source_row, lane.num_rows});
        alone.push_back(
            {.ranks = {rank}, .num_rows = lane.num_rows, .owned = {{0, lane.num_rows}}});
        plan.transfers.push_back(
            {rank, lane.source_row, lane.num_rows, rank, lane.destination_row});
      }
      gathered.push_back(std::move(set));
    }
  }
  return plan;
}

RowPlan Inverse(RowPlan plan) {
  std::swap(plan.sources, plan.destinations);
  for (RowTransfer& transfer : plan.transfers) {
    std::swap(transfer.source, transfer.destination);
    std::swap(transfer.source_row, transfer.destination_row);
  }
  return plan;
}

std::vector<RowTransfer> SendsOf(const RowPlan& plan, GlobalRank rank) {
  std::vector<RowTransfer> sends;
  for (const RowTransfer& transfer : plan.transfers) {
    if (transfer.source == rank && transfer.num_rows > 0) sends.push_back(transfer);
  }
  return sends;
}

std::vector<RowTransfer> ReceivesOf(const RowPlan& plan, GlobalRank rank) {
  std::vector<RowTransfer> receives;
  for (const RowTransfer& transfer : plan.transfers) {
    if (transfer.destination == rank && transfer.num_rows > 0) receives.push_back(transfer);
  }
  return receives;
}

const ReplicaSet* FindReplicaSet(std::span<const ReplicaSet> sets, GlobalRank rank) {
  const auto found = std::find_if(sets.begin(), sets.end(), [&](const ReplicaSet& set) {
    return RankIn(set.ranks, rank).has_value();
  });
  return found == sets.end() ? nullptr : &*found;
}

int64_t SourceRows(const RowPlan& plan, GlobalRank rank) {
  const ReplicaSet* set = FindReplicaSet(plan.sources, rank);
  return set == nullptr ? 0 : set->num_rows;
}

int64_t DestinationRows(const RowPlan& plan, GlobalRank rank) {
  const ReplicaSet* set = FindReplicaSet(plan.destinations, rank);
  return set == nullptr ? 0 : set->num_rows;
}

absl::Status CheckSourceRows(const RowPlan& plan, GlobalRank rank, int64_t actual_rows) {
  const int64_t expected = SourceRows(plan, rank);
  if (actual_rows == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " has ", actual_rows,
                                                 " rows to send, its samples count ", expected));
}

}  // namespace hetero
