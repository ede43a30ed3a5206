#ifndef HETERO_TRAINER_STEP_COMMUNICATORS_H_
#define HETERO_TRAINER_STEP_COMMUNICATORS_H_

// The communicators of a rank's modules: those that their layers call and those of their gradients.
// Every rank makes its own in the order of the plan, none for a group of one rank.

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/optim/bucket_traffic.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"

namespace hetero {

// What layers of a module call, whichever of its stages on this rank they are of: one thread walks
// the program, in the same order on all ranks of a group.
struct LayerCommunicators {
  std::vector<std::unique_ptr<Communicator>> owned;
  ModuleCommunicators by_family;
};

// kTp, and where `table`, the module's, has experts, kTpEp, between whose ranks tokens are
// dispatched, and kTpDpCp, over which load statistics are summed.
// Errors (here and below): those of the factory.
absl::StatusOr<LayerCommunicators> MakeLayerCommunicators(const Grid& grid,
                                                          const ParameterTable& table,
                                                          GlobalRank rank,
                                                          CommunicatorFactory& factory);

// Over which the gradients of a stage are summed.
struct GradientCommunicators {
  std::vector<std::unique_ptr<Communicator>> owned;
  GradientGroups groups;
};

// `stage`: its name, "language.0". None for what it has not or does not train.
absl::StatusOr<GradientCommunicators> MakeGradientCommunicators(std::string_view stage,
                                                                const Grid& grid,
                                                                ParameterStore& parameters,
                                                                GlobalRank rank,
                                                                CommunicatorFactory& factory);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_COMMUNICATORS_H_
