#include "hetero/trainer/step/shard_spec.h"

#include "hetero/grid/axis.h"

namespace hetero {

ShardSpec ShardSpecOf(const Grid& grid, GlobalRank rank, StagePlace place) {
  const auto axis = [&](Axis which) {
    return ShardSpec::Axis{grid.Coord(rank, which), grid.Size(which)};
  };
  return {.tp = axis(Axis::kTp),
          .ep = axis(Axis::kEp),
          .expt_tp = axis(Axis::kExptTp),
          .pp = {.rank = place.stage, .size = place.num_stages}};
}

}  // namespace hetero
