#ifndef HETERO_GRID_LANE_SIDE_H_
#define HETERO_GRID_LANE_SIDE_H_

// The ends of an edge between two modules, or two stages of one, by the lanes that share samples.

#include <cstdint>
#include <optional>

#include "hetero/grid/lane_blocks.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"

namespace hetero {

// One end of an edge: the ranks of one pipeline stage of a module, of all its lanes or of some.
struct LaneSide {
  const Grid* grid = nullptr;
  int64_t stage = 0;
  std::optional<LaneRange> only = {};

  LaneRange lanes() const { return only.value_or(LaneRange{0, grid->num_lanes()}); }
};

// Both ends of an edge, as far as they share samples.
struct LaneBlock {
  LaneSide source;
  LaneSide destination;
  int64_t index = 0;
  int64_t num_blocks = 1;

  // Of the G samples of a microbatch those whose counts a plan of these lanes takes.
  int64_t FirstSample(int64_t num_samples) const { return num_samples / num_blocks * index; }
  int64_t NumSamples(int64_t num_samples) const { return num_samples / num_blocks; }
};

// The block of `rank`, which is on that end of the edge.
LaneBlock BlockOfSource(LaneSide source, LaneSide destination, GlobalRank rank);
LaneBlock BlockOfDestination(LaneSide source, LaneSide destination, GlobalRank rank);

// Where rows enter a module and where they leave it.
LaneSide FirstStage(const Grid& grid);
LaneSide LastStage(const Grid& grid);

}  // namespace hetero

#endif  // HETERO_GRID_LANE_SIDE_H_
