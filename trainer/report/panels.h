#ifndef HETERO_TRAINER_REPORT_PANELS_H_
#define HETERO_TRAINER_REPORT_PANELS_H_

// Where the modules, stages, lanes and ranks of a run stand in its picture.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hetero/grid/layout.h"
#include "hetero/trainer/report/svg.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// Distances that both the placing and the drawing use.
inline constexpr double kPanelPadding = 18;
inline constexpr double kPanelHead = 52;   // module name and sizes
inline constexpr double kNodePadding = 5;  // between a node's outline and its ranks
inline constexpr double kPictureLeft = 24;

// Neighbouring lanes or stages that are drawn as one.
struct Slot {
  int64_t first = 0;
  int64_t count = 1;

  int64_t end() const { return first + count; }
};

// "lane 3", "lanes 8-399"
std::string Numbered(std::string_view noun, Slot slot);

struct Colors {
  std::string_view ground;
  std::string_view cell;
  std::string_view line;
};

// The ranks of some lanes of some stages.
struct Cell {
  SvgBox box;
  int64_t num_ranks = 0;
  int64_t first_rank = 0;
  int64_t last_rank = 0;
  Slot nodes;
  std::string name;   // "rank 3", "392 ranks, 8-399"
  std::string place;  // "lane 3, node 0"
};

// A module as it is drawn.
struct Panel {
  const Grid* grid = nullptr;
  Colors colors;
  int depth = 0;        // longest way from a module without sources
  int first_stage = 0;  // in StepPlan::stages
  std::vector<Slot> stages;
  std::vector<Slot> lanes;
  std::vector<double> column_widths;
  std::vector<std::vector<Cell>> cells;  // by stage and lane slot
  std::string sizes;
  SvgBox box;
};

// "stage 0" and "warm-up 3", of a column.
std::pair<std::string, std::string> StageTexts(const StepPlan& plan, const Panel& panel,
                                               Slot stages);

// A panel for each grid of `layout`, in its order, placed from left to right along the edges.
std::vector<Panel> MakePanels(const Layout& layout, const StepPlan& plan, int64_t ranks_per_node);

// Of the module that has `stage`.
const Panel& PanelOf(const std::vector<Panel>& panels, const PlanStage& stage);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_PANELS_H_
