#include "hetero/grid/lane_side.h"

#include "hetero/grid/axis.h"

namespace hetero {
namespace {

LaneBlock BlockAt(LaneSide source, LaneSide destination, const LaneBlocks& blocks, int64_t index) {
  source.only = blocks.Sources(index);
  destination.only = blocks.Destinations(index);
  return {source, destination, index, blocks.size()};
}

}  // namespace

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

}  // namespace hetero
