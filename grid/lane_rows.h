#ifndef HETERO_GRID_LANE_ROWS_H_
#define HETERO_GRID_LANE_ROWS_H_

// What row plans of every kind begin with: the rows of lanes, checked, and who has them.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"

namespace hetero {

// n + 1 sums: of no count, of the first, ..., of all.
std::vector<int64_t> PrefixSums(std::span<const int64_t> counts);

// Rows of each of `num_lanes` lanes, which have equally many samples.
std::vector<int64_t> RowsOfLanes(std::span<const int64_t> rows_per_sample, int64_t num_lanes);

// `what`: "rows" or "tokens".
// Errors: INVALID_ARGUMENT naming the sample when a count is negative or all of them exceed 2^40.
absl::Status CheckCounts(std::string_view what, std::span<const int64_t> per_sample);

// Errors: INVALID_ARGUMENT when the samples of a microbatch do not divide among the lanes of `end`.
absl::Status CheckSamples(std::string_view end, size_t num_samples, int64_t lanes);

// Errors: INVALID_ARGUMENT for cp > 1.
absl::Status CheckNoContext(const Grid& grid);

// Ranks of lane `index` of those of `side`.
Group RanksOf(LaneSide side, int64_t index);

// One rank with a buffer of its own.
ReplicaSet Alone(GlobalRank rank, int64_t num_rows, int64_t num_padding = 0);

}  // namespace hetero

#endif  // HETERO_GRID_LANE_ROWS_H_
