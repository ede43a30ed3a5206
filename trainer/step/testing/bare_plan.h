#ifndef HETERO_TRAINER_STEP_TESTING_BARE_PLAN_H_
#define HETERO_TRAINER_STEP_TESTING_BARE_PLAN_H_

// Plans for tests that look at stages, edges and ranks alone: without a model and without programs.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "hetero/grid/layout.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

struct BarePlan {
  Layout layout;
  StepPlan plan;
};

// `edges`: modules that feed each other. Precondition: the grids make a layout.
BarePlan MakeBarePlan(const std::vector<GridSpec>& grids,
                      const std::vector<std::pair<std::string, std::string>>& edges,
                      int64_t world_size);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_TESTING_BARE_PLAN_H_
