#ifndef HETERO_GRID_LANE_BLOCKS_H_
#define HETERO_GRID_LANE_BLOCKS_H_

// Which lanes of two modules hold samples of each other. Of G samples of a microbatch lane e of A
// lanes holds [e*G/A, (e+1)*G/A), so lanes fall into blocks between which no sample is shared: who
// looks at its own block only does work that does not grow with the world.

#include <cstdint>
#include <vector>

#include "hetero/grid/rank.h"

namespace hetero {

// Consecutive lanes of a module.
struct LaneRange {
  int64_t first = 0;
  int64_t count = 0;

  bool operator==(const LaneRange&) const = default;
};

// The lanes of both ends of an edge: g = gcd(A, B) blocks, each of A/g source and B/g destination
// lanes. Block b holds samples [b*G/g, (b+1)*G/g). Precondition: A, B at least 1.
class LaneBlocks {
 public:
  LaneBlocks(int64_t source_lanes, int64_t destination_lanes);

  int64_t size() const { return size_; }
  int64_t OfSource(LaneId lane) const { return lane.value() / source_lanes_; }
  int64_t OfDestination(LaneId lane) const { return lane.value() / destination_lanes_; }
  LaneRange Sources(int64_t block) const { return {block * source_lanes_, source_lanes_}; }
  LaneRange Destinations(int64_t block) const {
    return {block * destination_lanes_, destination_lanes_};
  }

 private:
  int64_t size_;
  int64_t source_lanes_;  // of a block
  int64_t destination_lanes_;
};

// Samples that a lane shares with a lane of the other end, in parts of which a microbatch has A*B.
struct LaneOverlap {
  LaneId other;
  int64_t num_parts = 0;

  bool operator==(const LaneOverlap&) const = default;
};

// Of lane `lane` of `lanes` with each of the other end's `others` lanes that it shares samples
// with, ascending.
std::vector<LaneOverlap> OverlapsOf(LaneId lane, int64_t lanes, int64_t others);

}  // namespace hetero

#endif  // HETERO_GRID_LANE_BLOCKS_H_
