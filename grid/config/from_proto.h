#ifndef HETERO_GRID_CONFIG_FROM_PROTO_H_
#define HETERO_GRID_CONFIG_FROM_PROTO_H_

// Grids from their configuration message.

#include "hetero/grid/config/grid.pb.h"
#include "hetero/grid/module_grid.h"

namespace hetero {

// Sizes that are not set become 1, num_ranks and rank_offset 0.
GridSpec FromProto(const proto::GridSpec& message);

}  // namespace hetero

#endif  // HETERO_GRID_CONFIG_FROM_PROTO_H_
