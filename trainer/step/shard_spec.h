#ifndef HETERO_TRAINER_STEP_SHARD_SPEC_H_
#define HETERO_TRAINER_STEP_SHARD_SPEC_H_

#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

// What `rank` holds of the stage at `place` of the module on `grid`. Precondition: the grid has the
// rank.
ShardSpec ShardSpecOf(const Grid& grid, GlobalRank rank, StagePlace place);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_SHARD_SPEC_H_
