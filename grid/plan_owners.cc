#include "hetero/grid/plan_owners.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_rows.h"
#include "hetero/grid/token_shard.h"

namespace hetero {
namespace {

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

// How each lane's ranks share its rows, or its tokens.
std::vector<TokenShard> ShardsOf(LaneSide side, std::span<const int64_t> per_lane) {
  std::vector<TokenShard> shards;
  for (const int64_t count : per_lane) {
    shards.push_back({.num_tokens = count, .size = side.grid->Size(Axis::kTp)});
  }
  return shards;
}

// Adds rows to a plan in the order in which destination lanes have them.
class OwnerPlanner {
 public:
  OwnerPlanner(LaneSide source, LaneSide destination, std::span<const int64_t> source_rows,
               std::span<const int64_t> destination_tokens)
      : senders_(ShardsOf(source, source_rows)),
        receivers_(ShardsOf(destination, destination_tokens)) {
    for (size_t lane = 0; lane < senders_.size(); ++lane) {
      TokenShard shard = senders_[lane];
      for (const GlobalRank rank : RanksOf(source, static_cast<int64_t>(lane))) {
        plan_.sources.push_back(Alone(rank, shard.rows(), shard.rows() - shard.num_owned()));
        ++shard.rank;
      }
    }
    for (size_t lane = 0; lane < receivers_.size(); ++lane) {
      for (const GlobalRank rank : RanksOf(destination, static_cast<int64_t>(lane))) {
        plan_.destinations.push_back(Alone(rank, 0));
      }
    }
  }

  // Rows [row, +count) of a source lane are of tokens [token, +count) of a destination lane.
  void Add(size_t from_lane, int64_t row, size_t to_lane, int64_t token, int64_t count) {
    const TokenShard& sender = senders_[from_lane];
    const TokenShard& receiver = receivers_[to_lane];
    const ReplicaSet* const from = &plan_.sources[from_lane * static_cast<size_t>(sender.size)];
    ReplicaSet* const to = &plan_.destinations[to_lane * static_cast<size_t>(receiver.size)];
    while (count > 0) {
      const int64_t e = sender.OwnerOf(row);
      const int64_t t = receiver.OwnerOf(token);
      const int64_t part =
          std::min({count, (e + 1) * sender.rows() - row, (t + 1) * receiver.rows() - token});
      Append({from[e].ranks[0], row - e * sender.rows(), part, to[t].ranks[0], to[t].num_rows});
      to[t].num_rows += part;
      to[t].owned[0].count += part;
      row += part;
      token += part;
      count -= part;
    }
  }

  RowPlan Take() && { return std::move(plan_); }

 private:
  // Rows that follow each other at both ends are one transfer.
  void Append(const RowTransfer& transfer) {
    RowTransfer* const last = plan_.transfers.empty() ? nullptr : &plan_.transfers.back();
    if (last != nullptr && last->source == transfer.source &&
        last->destination == transfer.destination &&
        last->source_row + last->num_rows == transfer.source_row) {
      last->num_rows += transfer.num_rows;
    } else {
      plan_.transfers.push_back(transfer);
    }
  }

  std::vector<TokenShard> senders_;    // by source lane
  std::vector<TokenShard> receivers_;  // by destination lane
  RowPlan plan_;
};

absl::Status CheckOwnerSamples(LaneSide source, std::span<const SampleRows> samples,
                               std::span<const std::vector<LaneRows>> parts,
                               std::span<const int64_t> tokens_per_sample) {
  std::vector<int64_t> rows_per_sample;
  for (const SampleRows& sample : samples) rows_per_sample.push_back(sample.num_rows);
  HETERO_RETURN_IF_ERROR(CheckCounts("rows", rows_per_sample));
  HETERO_RETURN_IF_ERROR(CheckCounts("tokens", tokens_per_sample));
  for (size_t i = 0; i < samples.size(); ++i) {
    HETERO_RETURN_IF_ERROR(CheckRuns(samples[i], i));
    HETERO_RETURN_IF_ERROR(CheckParts(source.lanes(), parts[i], samples[i].num_rows, i));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RowPlan> PlanOwners(LaneSide source, LaneSide destination,
                                   std::span<const SampleRows> samples) {
  HETERO_RETURN_IF_ERROR(CheckNoContext(*source.grid));
  HETERO_RETURN_IF_ERROR(CheckNoContext(*destination.grid));
  HETERO_RETURN_IF_ERROR(CheckSamples("source", samples.size(), source.lanes().count));
  HETERO_RETURN_IF_ERROR(CheckSamples("destination", samples.size(), destination.lanes().count));
  const std::vector<std::vector<LaneRows>> parts = PartsOf(source.lanes(), samples);
  std::vector<int64_t> tokens_per_sample;
  for (const SampleRows& sample : samples) tokens_per_sample.push_back(sample.num_tokens);
  HETERO_RETURN_IF_ERROR(CheckOwnerSamples(source, samples, parts, tokens_per_sample));
  const auto index_of = [&](LaneId lane) {
    return static_cast<size_t>(lane.value() - source.lanes().first);
  };
  std::vector<int64_t> source_rows(static_cast<size_t>(source.lanes().count));
  for (const std::vector<LaneRows>& of_sample : parts) {
    for (const LaneRows& part : of_sample) source_rows[index_of(part.lane)] += part.num_rows;
  }
  OwnerPlanner planner(source, destination, source_rows,
                       RowsOfLanes(tokens_per_sample, destination.lanes().count));

  const size_t per_destination = samples.size() / static_cast<size_t>(destination.lanes().count);
  std::vector<int64_t> next_row(source_rows.size());  // of each source lane
  int64_t tokens_before = 0;                          // in the destination lane
  for (size_t s = 0; s < samples.size(); ++s) {
    if (s % per_destination == 0) tokens_before = 0;
    size_t next_part = 0;
    int64_t part_left = 0;
    size_t from_lane = 0;
    for (IndexRange run : samples[s].runs) {
      while (run.count > 0) {
        for (; part_left == 0; ++next_part) {
          part_left = parts[s][next_part].num_rows;
          from_lane = index_of(parts[s][next_part].lane);
        }
        const int64_t count = std::min(run.count, part_left);
        planner.Add(from_lane, next_row[from_lane], s / per_destination, tokens_before + run.first,
                    count);
        next_row[from_lane] += count;
        part_left -= count;
        run.first += count;
        run.count -= count;
      }
    }
    tokens_before += samples[s].num_tokens;
  }
  return std::move(planner).Take();
}

}  // namespace hetero
