#ifndef HETERO_GRID_PLAN_OWNERS_H_
#define HETERO_GRID_PLAN_OWNERS_H_

// Row plans in which every row goes straight to the rank that works on its token.

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"

namespace hetero {

// Consecutive rows of a sample that one source lane has.
struct LaneRows {
  LaneId lane;
  int64_t num_rows = 0;

  bool operator==(const LaneRows&) const = default;
};

// The rows of a sample, and which of its tokens at the destination they stand for.
struct SampleRows {
  int64_t num_rows = 0;
  int64_t num_tokens = 0;                 // of the sample, padding included
  std::span<const IndexRange> runs = {};  // of them, ascending and apart: row by row
  // Where they come from, in order: all of them. Unset: from the lane that holds the sample.
  std::optional<std::span<const LaneRows>> parts = {};
};

// Tensor-parallel rank e of a source lane with N rows has rows [e*R, (e+1)*R) of them, R = ceil(N /
// tp), and padding up to R. Rank t of a destination lane with T tokens works on [t*Q, (t+1)*Q), Q =
// ceil(T / tp): rows go straight to the rank whose token they stand for, which has those of its
// lane that it owns, in order. Nothing is gathered on either side. The sides may share their ranks.
// A source lane has its rows in the order of samples and of their parts, whatever the samples.
// The lanes of both sides hold the same samples, all of a microbatch or those of a LaneBlock.
// Errors: those of PlanLanes; INVALID_ARGUMENT naming the sample whose runs are not in order, leave
// its tokens, or are of more or fewer tokens than it has rows, or whose parts are not its rows or
// from a lane that is no source; when a side has cp > 1.
absl::StatusOr<RowPlan> PlanOwners(LaneSide source, LaneSide destination,
                                   std::span<const SampleRows> samples);

}  // namespace hetero

#endif  // HETERO_GRID_PLAN_OWNERS_H_
