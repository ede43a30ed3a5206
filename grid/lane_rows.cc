#include "hetero/grid/lane_rows.h"

#include "absl/strings/str_cat.h"
#include "hetero/grid/axis.h"

namespace hetero {
namespace {

// Rows of a microbatch at most: their bytes still fit in 64 bits, whatever their width.
constexpr int64_t kMaxRows = int64_t{1} << 40;

}  // namespace

std::vector<int64_t> PrefixSums(std::span<const int64_t> counts) {
  std::vector<int64_t> sums = {0};
  for (const int64_t count : counts) sums.push_back(sums.back() + count);
  return sums;
}

std::vector<int64_t> RowsOfLanes(std::span<const int64_t> rows_per_sample, int64_t num_lanes) {
  const std::vector<int64_t> sums = PrefixSums(rows_per_sample);
  const size_t per_lane = rows_per_sample.size() / static_cast<size_t>(num_lanes);
  std::vector<int64_t> rows;
  for (size_t first = 0; first + per_lane < sums.size(); first += per_lane) {
    rows.push_back(sums[first + per_lane] - sums[first]);
  }
  return rows;
}

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

absl::Status CheckNoContext(const Grid& grid) {
  const int64_t cp = grid.Size(Axis::kCp);
  if (cp == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      grid.name(), ".cp is ", cp, "; the owner of a token is known for cp 1 alone; nearest: 1"));
}

Group RanksOf(LaneSide side, int64_t index) {
  return side.grid->LaneRanks(LaneId(side.lanes().first + index), side.stage);
}

ReplicaSet Alone(GlobalRank rank, int64_t num_rows, int64_t num_padding) {
  return {
      .ranks = {rank}, .num_rows = num_rows, .owned = {{0, num_rows}}, .num_padding = num_padding};
}

}  // namespace hetero
