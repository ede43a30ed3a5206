#include "hetero/grid/row_plan.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/token_shard.h"

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

// `what`: "rows" or "tokens".
absl::Status CheckCounts(std::string_view what, std::span<const int64_t> per_sample) {
  int64_t sum = 0;
  for (size_t sample = 0; sample < per_sample.size(); ++sample) {
    const int64_t count = per_sample[sample];
    if (count < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", sample, " has ", count, " ", what, ", must be at least 0"));
    }
    if (count > kMaxRows - sum) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", sample, " has ", count, " ", what, " after the ", sum,
                       " of those before it, must be at most ", kMaxRows,
                       " together; nearest: ", kMaxRows - sum));
    }
    sum += count;
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

// Ranks of lane `index` of those of `side`.
Group RanksOf(LaneSide side, int64_t index) {
  return side.grid->LaneRanks(LaneId(side.lanes().first + index), side.stage);
}

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

// One rank with a buffer of its own.
ReplicaSet Alone(GlobalRank rank, int64_t num_rows, int64_t num_padding = 0) {
  return {
      .ranks = {rank}, .num_rows = num_rows, .owned = {{0, num_rows}}, .num_padding = num_padding};
}

absl::Status CheckNoContext(const Grid& grid) {
  const int64_t cp = grid.Size(Axis::kCp);
  if (cp == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      grid.name(), ".cp is ", cp, "; the owner of a token is known for cp 1 alone; nearest: 1"));
}

// Of sample number `index`.
absl::Status CheckRuns(const SampleRows& sample, size_t index) {
  int64_t next = 0;
  int64_t num_rows = 0;
  for (const IndexRange& run : sample.runs) {
    if (run.first < next || run.count < 1 || run.count > sample.num_tokens - run.first) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sample ", index, " has rows for ", run.count, " tokens from ", run.first,
          " on, must be tokens of [", next, ", ", sample.num_tokens, ") in ascending order"));
    }
    next = run.end();
    num_rows += run.count;
  }
  if (num_rows == sample.num_rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("sample ", index, " has ", sample.num_rows,
                                                 " rows for ", num_rows,
                                                 " of its tokens; must be one a token"));
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

absl::StatusOr<RowPlan> PlanOwners(LaneSide source, LaneSide destination,
                                   std::span<const SampleRows> samples) {
  HETERO_RETURN_IF_ERROR(CheckNoContext(*source.grid));
  HETERO_RETURN_IF_ERROR(CheckNoContext(*destination.grid));
  std::vector<int64_t> rows_per_sample;
  std::vector<int64_t> tokens_per_sample;
  for (const SampleRows& sample : samples) {
    rows_per_sample.push_back(sample.num_rows);
    tokens_per_sample.push_back(sample.num_tokens);
  }
  HETERO_ASSIGN_OR_RETURN(
      const std::vector<LaneTransfer> lane_transfers,
      PlanLanes(rows_per_sample, source.lanes().count, destination.lanes().count));
  HETERO_RETURN_IF_ERROR(CheckCounts("tokens", tokens_per_sample));
  for (size_t i = 0; i < samples.size(); ++i) {
    HETERO_RETURN_IF_ERROR(CheckRuns(samples[i], i));
  }
  // How each lane's ranks share its rows, or its tokens.
  const auto shards = [](LaneSide side, std::span<const int64_t> per_sample) {
    std::vector<TokenShard> shards;
    for (const int64_t count : RowsOfLanes(per_sample, side.lanes().count)) {
      shards.push_back({.num_tokens = count, .size = side.grid->Size(Axis::kTp)});
    }
    return shards;
  };
  const std::vector<TokenShard> senders = shards(source, rows_per_sample);
  const std::vector<TokenShard> receivers = shards(destination, tokens_per_sample);

  RowPlan plan;
  for (size_t lane = 0; lane < senders.size(); ++lane) {
    TokenShard shard = senders[lane];
    for (const GlobalRank rank : RanksOf(source, static_cast<int64_t>(lane))) {
      plan.sources.push_back(Alone(rank, shard.rows(), shard.rows() - shard.num_owned()));
      ++shard.rank;
    }
  }
  for (int64_t lane = 0; lane < destination.lanes().count; ++lane) {
    for (const GlobalRank rank : RanksOf(destination, lane)) {
      plan.destinations.push_back(Alone(rank, 0));
    }
  }

  const std::vector<int64_t> tokens_before = PrefixSums(tokens_per_sample);
  const auto per_destination =
      static_cast<int64_t>(samples.size()) / destination.lanes().count;  // samples
  for (const LaneTransfer& lane : lane_transfers) {
    const TokenShard& sender = senders[static_cast<size_t>(lane.source.value())];
    const TokenShard& receiver = receivers[static_cast<size_t>(lane.destination.value())];
    const ReplicaSet* const from =
        &plan.sources[static_cast<size_t>(lane.source.value() * sender.size)];
    ReplicaSet* const to =
        &plan.destinations[static_cast<size_t>(lane.destination.value() * receiver.size)];
    const int64_t lane_tokens_before =
        tokens_before[static_cast<size_t>(lane.destination.value() * per_destination)];
    const size_t first_transfer = plan.transfers.size();
    int64_t row = lane.source_row;
    // Rows [row, +count) of the source lane are of tokens [token, +count) of the destination lane.
    const auto add = [&](int64_t token, int64_t count) {
      while (count > 0) {
        const int64_t e = sender.OwnerOf(row);
        const int64_t t = receiver.OwnerOf(token);
        const int64_t part =
            std::min({count, (e + 1) * sender.rows() - row, (t + 1) * receiver.rows() - token});
        const RowTransfer transfer = {from[e].ranks[0], row - e * sender.rows(), part,
                                      to[t].ranks[0], to[t].num_rows};
        RowTransfer* const last =
            plan.transfers.size() > first_transfer ? &plan.transfers.back() : nullptr;
        if (last != nullptr && last->source == transfer.source &&
            last->destination == transfer.destination) {
          last->num_rows += part;
        } else {
          plan.transfers.push_back(transfer);
        }
        to[t].num_rows += part;
        to[t].owned[0].count += part;
        row += part;
        token += part;
        count -= part;
      }
    };
    for (int64_t s = lane.first_sample; s < lane.first_sample + lane.num_samples; ++s) {
      const auto sample = static_cast<size_t>(s);
      for (const IndexRange& run : samples[sample].runs) {
        add(tokens_before[sample] - lane_tokens_before + run.first, run.count);
      }
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
