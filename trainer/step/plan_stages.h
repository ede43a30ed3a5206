#ifndef HETERO_TRAINER_STEP_PLAN_STAGES_H_
#define HETERO_TRAINER_STEP_PLAN_STAGES_H_

// The stages of a plan and the edges between them, without any schedule.

#include "absl/status/status.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// Adds the stages of each module in a row, `pipeline_chunks` times as many as its grid has pipeline
// ranks where the module owns the samples, the edges between them, and the model's edges between
// last and first stages; says which train, which run backward and which edges return.
// Precondition: CheckModules finds nothing. Errors: those of Model::MakeTable.
absl::Status AddStages(const Layout& layout, const Model& model, int pipeline_chunks,
                       StepPlan& plan);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_PLAN_STAGES_H_
