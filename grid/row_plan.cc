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

// Of each sample the source lanes of its rows.
std::vector<std::vector<LaneRows>> PartsOf(LaneRange sources, std::span<const SampleRows> samples) {
  const size_t per_source = samples.size() / static_cast<size_t>(sources.count);
  std::vector<std::vector<LaneRows>> parts;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].parts.has_value()) {
      parts.emplace_back(samples[i].parts->begin(), samples[i].parts->end());
    } else {
      const LaneId lane(sources.first + static_cast<int64_t>(i / per_source));
      parts.push_back({{lane, samples[i].num_rows}});
    }
  }
  return parts;
}

// Of sample number `index`.
absl::Status CheckParts(LaneRange sources, std::span<const LaneRows> parts, int64_t num_rows,
                        size_t index) {
  int64_t sum = 0;
  for (const LaneRows& part : parts) {
    const int64_t lane = part.lane.value() - sources.first;
    if (lane < 0 || lane >= sources.count || part.num_rows < 0 || part.num_rows > num_rows - sum) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sample ", index, " has ", part.num_rows, " rows from source lane ", part.lane,
          ", must be at most the ", num_rows - sum, " left of its rows, from one of ",
          sources.count, " lanes from ", sources.first, " on"));
    }
    sum += part.num_rows;
  }
  if (sum == num_rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("sample ", index, " has ", num_rows,
                                                 " rows, source lanes have ", sum, " of them"));
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
  HETERO_RETURN_IF_ERROR(CheckCounts("rows", rows_per_sample));
  HETERO_RETURN_IF_ERROR(CheckSamples("source", samples.size(), source.lanes().count));
  HETERO_RETURN_IF_ERROR(CheckSamples("destination", samples.size(), destination.lanes().count));
  HETERO_RETURN_IF_ERROR(CheckCounts("tokens", tokens_per_sample));
  const std::vector<std::vector<LaneRows>> parts = PartsOf(source.lanes(), samples);
  std::vector<int64_t> source_rows(static_cast<size_t>(source.lanes().count));
  for (size_t i = 0; i < samples.size(); ++i) {
    HETERO_RETURN_IF_ERROR(CheckRuns(samples[i], i));
    HETERO_RETURN_IF_ERROR(CheckParts(source.lanes(), parts[i], samples[i].num_rows, i));
    for (const LaneRows& part : parts[i]) {
      source_rows[static_cast<size_t>(part.lane.value() - source.lanes().first)] += part.num_rows;
    }
  }
  // How each lane's ranks share its rows, or its tokens.
  const auto shards = [](LaneSide side, std::span<const int64_t> per_lane) {
    std::vector<TokenShard> shards;
    for (const int64_t count : per_lane) {
      shards.push_back({.num_tokens = count, .size = side.grid->Size(Axis::kTp)});
    }
    return shards;
  };
  const std::vector<TokenShard> senders = shards(source, source_rows);
  const std::vector<TokenShard> receivers =
      shards(destination, RowsOfLanes(tokens_per_sample, destination.lanes().count));

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

  const size_t per_destination =
      samples.size() / static_cast<size_t>(destination.lanes().count);  // samples
  std::vector<int64_t> next_row(source_rows.size());                    // of each source lane
  int64_t tokens_before = 0;                                            // in the destination lane
  for (size_t s = 0; s < samples.size(); ++s) {
    const size_t to_lane = s / per_destination;
    if (s % per_destination == 0) tokens_before = 0;
    const TokenShard& receiver = receivers[to_lane];
    ReplicaSet* const to = &plan.destinations[to_lane * static_cast<size_t>(receiver.size)];
    // Rows [row, +count) of a source lane are of tokens [token, +count) of the destination lane.
    const auto add = [&](size_t from_lane, int64_t row, int64_t token, int64_t count) {
      const TokenShard& sender = senders[from_lane];
      const ReplicaSet* const from = &plan.sources[from_lane * static_cast<size_t>(sender.size)];
      while (count > 0) {
        const int64_t e = sender.OwnerOf(row);
        const int64_t t = receiver.OwnerOf(token);
        const int64_t part =
            std::min({count, (e + 1) * sender.rows() - row, (t + 1) * receiver.rows() - token});
        const RowTransfer transfer = {from[e].ranks[0], row - e * sender.rows(), part,
                                      to[t].ranks[0], to[t].num_rows};
        RowTransfer* const last = plan.transfers.empty() ? nullptr : &plan.transfers.back();
        if (last != nullptr && last->source == transfer.source &&
            last->destination == transfer.destination &&
            last->source_row + last->num_rows == transfer.source_row) {
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
    size_t next_part = 0;
    int64_t part_left = 0;
    size_t from_lane = 0;
    for (IndexRange run : samples[s].runs) {
      while (run.count > 0) {
        for (; part_left == 0; ++next_part) {
          part_left = parts[s][next_part].num_rows;
          from_lane = static_cast<size_t>(parts[s][next_part].lane.value() - source.lanes().first);
        }
        const int64_t count = std::min(run.count, part_left);
        add(from_lane, next_row[from_lane], tokens_before + run.first, count);
        next_row[from_lane] += count;
        part_left -= count;
        run.first += count;
        run.count -= count;
      }
    }
    tokens_before += samples[s].num_tokens;
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
