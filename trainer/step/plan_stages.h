#ifndef HETERO_TRAINER_STEP_PLAN_STAGES_H_
#define HETERO_TRAINER_STEP_PLAN_STAGES_H_

// The stages of a plan and the edges between them, without any schedule.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// The parameters of `module`, divided into its stages: as many as its grid has pipeline ranks,
// `pp`, and `pipeline_chunks` times as many where the module owns the samples. Errors: those of
// Model::MakeTable, naming both factors where there are two.
absl::StatusOr<ParameterTable> StagedTable(const Model& model, const GraphModule& module,
                                           int64_t pp, int64_t pipeline_chunks);

// Adds the stages of each module in a row, the edges between them, and the model's edges between
// last and first stages; says which train, which run backward and which edges return.
// Precondition: CheckModules finds nothing. Errors: those of StagedTable.
absl::Status AddStages(const Layout& layout, const Model& model, int pipeline_chunks,
                       StepPlan& plan);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_PLAN_STAGES_H_
