#ifndef HETERO_GRID_GRID_H_
#define HETERO_GRID_GRID_H_

// All of the library: axes, views, module grids, layouts, lanes and row plans.

#include "hetero/grid/axis.h"         // IWYU pragma: export
#include "hetero/grid/lane_blocks.h"  // IWYU pragma: export
#include "hetero/grid/lane_side.h"    // IWYU pragma: export
#include "hetero/grid/layout.h"       // IWYU pragma: export
#include "hetero/grid/module_grid.h"  // IWYU pragma: export
#include "hetero/grid/plan_lanes.h"   // IWYU pragma: export
#include "hetero/grid/plan_owners.h"  // IWYU pragma: export
#include "hetero/grid/rank.h"         // IWYU pragma: export
#include "hetero/grid/row_plan.h"     // IWYU pragma: export
#include "hetero/grid/token_shard.h"  // IWYU pragma: export
#include "hetero/grid/view.h"         // IWYU pragma: export

#endif  // HETERO_GRID_GRID_H_
