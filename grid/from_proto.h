#ifndef HETERO_GRID_FROM_PROTO_H_
#define HETERO_GRID_FROM_PROTO_H_

// Grids from their configuration message.

#include <string>
#include <string_view>
#include <vector>

#include "hetero/grid/grid.pb.h"
#include "hetero/grid/module_grid.h"

namespace hetero {

// The spec of module `name`; an unset num_ranks gives 0 and an unset rank_offset 0.
GridSpec FromProto(std::string_view name, const proto::GridSpec& message);

// A violation for each required number that is unset, fields named "<name>.num_ranks".
std::vector<Violation> MissingNumbers(std::string_view name, const proto::GridSpec& message);

}  // namespace hetero

#endif  // HETERO_GRID_FROM_PROTO_H_
