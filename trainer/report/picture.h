#ifndef HETERO_TRAINER_REPORT_PICTURE_H_
#define HETERO_TRAINER_REPORT_PICTURE_H_

// The layout of a run as a drawing: modules with their stages as columns and their lanes as rows,
// the ranks in them, the nodes that ranks are on, and the edges over which rows travel.

#include <cstdint>
#include <string>

#include "hetero/grid/layout.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

struct PictureOptions {
  // Ranks [0, n) are on node 0, [n, 2n) on node 1 and so on: machines mostly have eight GPUs.
  int64_t ranks_per_node = 8;
};

// An SVG document. Where a module has many lanes or stages, those that are like their neighbours
// are one box that counts its ranks, so that its size does not grow with the world. Every rank is
// in one box of each stage that it holds. Pure: equal plans have equal pictures.
std::string DrawLayout(const Layout& layout, const StepPlan& plan,
                       const PictureOptions& options = {});

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_PICTURE_H_
