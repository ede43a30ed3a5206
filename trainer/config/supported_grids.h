#ifndef HETERO_TRAINER_CONFIG_SUPPORTED_GRIDS_H_
#define HETERO_TRAINER_CONFIG_SUPPORTED_GRIDS_H_

// What of a grid a run can train with so far.

#include <vector>

#include "hetero/base/violation.h"
#include "hetero/grid/module_grid.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// A violation for each size of an axis above 1, which a run does not support yet.
std::vector<Violation> CheckSupportedSizes(const proto::RunConfig& config);

// The grids of `config`, in its order, with 1 for each size that is refused by CheckSupportedSizes:
// what all other rules judge, so that they hold once that advice is taken.
std::vector<GridSpec> SupportedGrids(const proto::RunConfig& config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_SUPPORTED_GRIDS_H_
