#ifndef HETERO_TRAINER_STEP_WORK_CLASSES_H_
#define HETERO_TRAINER_STEP_WORK_CLASSES_H_

// Ranks that do the same work on different samples: what one of them needs, all of them need.

#include <cstdint>
#include <vector>

#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// Ranks that hold the same stages, whose coordinates differ on data axes alone, and whose lanes
// share equal parts of a microbatch with the lanes at the other ends of their edges: of 3 source
// lanes that feed 2, the second feeds both and is a class of its own. Their memory and their
// collectives are equal, and so are their operations but for the gradient norm, whose squares are
// shared out among the data-parallel ranks element by element.
struct WorkClass {
  int rank_class = 0;  // of StepPlan::classes
  GlobalRank first_rank;
  int64_t num_ranks = 0;

  bool operator==(const WorkClass&) const = default;
};

struct WorkClasses {
  std::vector<WorkClass> classes;  // in the order of their first ranks
  std::vector<int> of_rank;        // by rank: index into `classes`
};

// Time and memory grow with the ranks of the world, not with their pairs or with samples.
WorkClasses FindWorkClasses(const Layout& layout, const StepPlan& plan);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_WORK_CLASSES_H_
