#include "hetero/grid/lane_blocks.h"

#include <algorithm>
#include <numeric>

namespace hetero {

LaneBlocks::LaneBlocks(int64_t source_lanes, int64_t destination_lanes)
    : size_(std::gcd(source_lanes, destination_lanes)),
      source_lanes_(source_lanes / size_),
      destination_lanes_(destination_lanes / size_) {}

std::vector<LaneOverlap> OverlapsOf(LaneId lane, int64_t lanes, int64_t others) {
  std::vector<LaneOverlap> overlaps;
  const int64_t end = (lane.value() + 1) * others;
  for (int64_t begin = lane.value() * others; begin < end;) {
    const int64_t other = begin / lanes;
    const int64_t part_end = std::min(end, (other + 1) * lanes);
    overlaps.push_back({LaneId(other), part_end - begin});
    begin = part_end;
  }
  return overlaps;
}

}  // namespace hetero
