#ifndef HETERO_GRID_PLAN_LANES_H_
#define HETERO_GRID_PLAN_LANES_H_

// Row plans that follow from how many rows each sample has.
//
// The lanes of both sides hold the same samples, all of a microbatch or those of a LaneBlock, and
// what is said of samples is of these.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"

namespace hetero {

// Samples [first_sample, first_sample + num_samples) of the microbatch go from one lane to another;
// rows are offsets into the lanes' own buffers.
struct LaneTransfer {
  LaneId source;
  LaneId destination;
  int64_t first_sample = 0;
  int64_t num_samples = 0;
  int64_t source_row = 0;
  int64_t destination_row = 0;
  int64_t num_rows = 0;

  bool operator==(const LaneTransfer&) const = default;
};

// Every non-empty intersection of a source and a destination lane, by ascending sample.
// rows_per_sample: rows of each of the G samples.
// Errors: INVALID_ARGUMENT naming the number and the nearest that passes: a count is negative, all
// of them exceed 2^40, a lane count is not 1 to kMaxRanks, G is not a multiple of each lane count.
absl::StatusOr<std::vector<LaneTransfer>> PlanLanes(std::span<const int64_t> rows_per_sample,
                                                    int64_t source_lanes,
                                                    int64_t destination_lanes);

// One rank of each lane has all its rows and moves them: the last of a source lane to the first of
// a destination lane, where a broadcast in the lane follows. How Megatron-LM does it; kept to hold
// others against.
// Errors: those of PlanLanes.
absl::StatusOr<RowPlan> PlanLeaderFunnel(LaneSide source, LaneSide destination,
                                         std::span<const int64_t> rows_per_sample);

// Between two stages of one module: every rank sends the rows that it has, padding included, to the
// rank of the same coordinates on the other stage.
// Errors: those of PlanLanes; INVALID_ARGUMENT when the sides are of different grids or have cp
// > 1.
absl::StatusOr<RowPlan> PlanBetweenStages(LaneSide source, LaneSide destination,
                                          std::span<const int64_t> rows_per_sample);

}  // namespace hetero

#endif  // HETERO_GRID_PLAN_LANES_H_
