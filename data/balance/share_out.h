#ifndef HETERO_DATA_BALANCE_SHARE_OUT_H_
#define HETERO_DATA_BALANCE_SHARE_OUT_H_

// Which data lane of an encoder works on which image of a step, by what images cost: the costliest
// first, each to the lane with the least work so far (Graham 1969, longest processing time first).
// An image stays in its microbatch, since rows of an encoder are awaited microbatch by microbatch;
// a lane's work in that microbatch therefore counts once more by a quarter, so that lanes are near
// to each other all along the step and even at its end. A pure function of what all ranks know.

#include <cstdint>
#include <span>
#include <vector>

namespace hetero::data {

// An image or the like.
struct LaneItem {
  double cost = 0;
  int64_t num_features = 0;  // patches
  int64_t num_tokens = 0;
  int64_t microbatch = 0;
  int64_t lane = 0;  // that of its sample
};

// What a lane holds of a microbatch, at most.
struct LaneRoom {
  int64_t num_features = 0;
  int64_t num_tokens = 0;
  int64_t num_items = 0;
};

struct LaneShares {
  std::vector<int64_t> lanes;  // of each item
  std::vector<double> work;    // of each lane: the costs of its items
};

// Of equal costs the earlier item goes first, of lanes with equal work the lower one is taken; a
// lane without room is passed over. A microbatch whose items find no room this way keeps the lanes
// of its samples.
// Precondition: both numbers are at least 1; in each microbatch the lanes of samples have room.
LaneShares ShareOut(std::span<const LaneItem> items, int64_t num_lanes, int64_t num_microbatches,
                    LaneRoom room);

// How far the busiest lane is above the mean: 1 where all work alike, and where none has any.
double MaxOverMean(std::span<const double> work);

}  // namespace hetero::data

#endif  // HETERO_DATA_BALANCE_SHARE_OUT_H_
