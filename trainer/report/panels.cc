#include "hetero/trainer/report/panels.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/report/grid_text.h"

namespace hetero {
namespace {

// Of one module, those that are drawn apart: more are no longer read one by one.
constexpr int64_t kMaxLanes = 8;
constexpr int64_t kMaxStages = 10;

constexpr double kCellHeight = 38;
constexpr double kRowGap = 14;
constexpr double kColumnGap = 40;
constexpr double kColumnHead = 36;  // stage and its warm-up
constexpr double kPanelGap = 28;    // between modules one above the other
constexpr double kBridgeGap = 120;  // between modules side by side
constexpr double kTop = 84;

// Readable on a light ground and told apart also without red or green.
constexpr std::array<Colors, 6> kPalette = {{{"#eff6ff", "#bfdbfe", "#1d4ed8"},
                                             {"#fff7ed", "#fed7aa", "#c2410c"},
                                             {"#f5f3ff", "#ddd6fe", "#6d28d9"},
                                             {"#ecfdf5", "#a7f3d0", "#047857"},
                                             {"#fefce8", "#fde68a", "#a16207"},
                                             {"#fdf2f8", "#fbcfe8", "#be185d"}}};

// The first `head` and the last `tail` of `total` alone, those between them as one.
std::vector<Slot> MakeSlots(int64_t total, int64_t head, int64_t tail) {
  std::vector<Slot> slots;
  for (int64_t i = 0; i < std::min(total, head); ++i) slots.push_back({i, 1});
  if (total - head - tail > 0) slots.push_back({head, total - head - tail});
  for (int64_t i = std::max(head, total - tail); i < total; ++i) slots.push_back({i, 1});
  return slots;
}

std::vector<Slot> StageSlots(int64_t num_stages) {
  if (num_stages <= kMaxStages) return MakeSlots(num_stages, num_stages, 0);
  return MakeSlots(num_stages, kMaxStages / 2, kMaxStages / 2 - 1);
}

// Lanes of each grid that are drawn alone: all of them, or whole blocks of lanes that share samples
// with each other alone, or as many as there is room for.
std::vector<int64_t> LanesAlone(const Layout& layout) {
  int64_t most = 0;
  int64_t num_blocks = 0;
  for (const Grid& grid : layout.grids()) {
    most = std::max(most, grid.num_lanes());
    num_blocks = std::gcd(num_blocks, grid.num_lanes());
  }
  const int64_t blocks = kMaxLanes / (most / num_blocks);
  std::vector<int64_t> alone;
  for (const Grid& grid : layout.grids()) {
    const int64_t lanes = grid.num_lanes();
    const bool all = most <= kMaxLanes;
    alone.push_back(all          ? lanes
                    : blocks > 0 ? blocks * (lanes / num_blocks)
                                 : std::min(lanes, kMaxLanes));
  }
  return alone;
}

Cell MakeCell(const Grid& grid, Slot stages, Slot lanes, int64_t ranks_per_node) {
  Cell cell;
  cell.first_rank = grid.first_rank().value() + grid.num_ranks();
  // The stages of an interleaved pipeline go round its ranks.
  const int64_t num_ranks = grid.Size(Axis::kPp);
  for (int64_t stage = stages.first; stage < stages.end(); ++stage) {
    for (int64_t lane = lanes.first; lane < lanes.end(); ++lane) {
      for (const GlobalRank rank : grid.LaneRanks(LaneId(lane), stage % num_ranks)) {
        ++cell.num_ranks;
        cell.first_rank = std::min(cell.first_rank, rank.value());
        cell.last_rank = std::max(cell.last_rank, rank.value());
      }
    }
  }
  const int64_t first_node = cell.first_rank / ranks_per_node;
  cell.nodes = {first_node, cell.last_rank / ranks_per_node - first_node + 1};
  if (cell.num_ranks == 1) {
    cell.name = absl::StrCat("rank ", cell.first_rank);
  } else {
    const bool in_a_row = cell.last_rank - cell.first_rank + 1 == cell.num_ranks;
    cell.name = absl::StrCat(cell.num_ranks, " ranks, ", cell.first_rank, in_a_row ? "-" : " to ",
                             cell.last_rank);
  }
  cell.place = absl::StrCat(Numbered("lane", lanes), ", ", Numbered("node", cell.nodes));
  return cell;
}

// Cells and sizes; the place follows from the other panels.
Panel MakePanel(const StepPlan& plan, const Grid& grid, int64_t lanes_alone, size_t index,
                int64_t ranks_per_node) {
  Panel panel{.grid = &grid,
              .colors = kPalette[index % kPalette.size()],
              .stages = {},
              .lanes = MakeSlots(grid.num_lanes(), lanes_alone, 0),
              .sizes = absl::StrCat(RanksText(grid), ": ", SizesText(grid))};
  while (plan.stages[panel.first_stage].module != grid.name()) ++panel.first_stage;
  panel.stages = StageSlots(plan.stages[panel.first_stage].place.num_stages);
  panel.box.width = kPanelPadding - kColumnGap;
  for (const Slot stages : panel.stages) {
    const auto [name, warmup] = StageTexts(plan, panel, stages);
    double width = std::max(TextWidth(name, 12), TextWidth(warmup, 10));
    std::vector<Cell> column;
    for (const Slot lanes : panel.lanes) {
      column.push_back(MakeCell(grid, stages, lanes, ranks_per_node));
      width =
          std::max({width, TextWidth(column.back().name, 12), TextWidth(column.back().place, 10)});
    }
    panel.column_widths.push_back(width + 16);
    panel.box.width += kColumnGap + panel.column_widths.back();
    panel.cells.push_back(std::move(column));
  }
  panel.box.width =
      std::max({panel.box.width + kPanelPadding, 2 * kPanelPadding + TextWidth(grid.name(), 15),
                2 * kPanelPadding + TextWidth(panel.sizes, 11)});
  const auto rows = static_cast<double>(panel.lanes.size());
  panel.box.height = kPanelHead + kColumnHead + rows * (kCellHeight + kRowGap) - kRowGap +
                     kPanelPadding + kNodePadding;
  return panel;
}

size_t IndexOf(const std::vector<Panel>& panels, const PlanStage& stage) {
  return std::ranges::find_if(
             panels, [&](const Panel& panel) { return panel.grid->name() == stage.module; }) -
         panels.begin();
}

void FindDepths(const StepPlan& plan, std::vector<Panel>& panels) {
  for (size_t i = 0; i < panels.size(); ++i) {
    for (const PlanEdge& edge : plan.edges) {
      if (edge.graph_edge < 0) continue;
      const int source = panels[IndexOf(panels, plan.stages[edge.source])].depth;
      int& destination = panels[IndexOf(panels, plan.stages[edge.destination])].depth;
      destination = std::max(destination, source + 1);
    }
  }
}

// Columns of panels from left to right by depth, each column from the top.
void Place(std::vector<Panel>& panels) {
  int depths = 0;
  for (const Panel& panel : panels) depths = std::max(depths, panel.depth + 1);
  double left = kPictureLeft;
  for (int depth = 0; depth < depths; ++depth) {
    double width = 0;
    for (const Panel& panel : panels) {
      if (panel.depth == depth) width = std::max(width, panel.box.width);
    }
    double top = kTop;
    for (Panel& panel : panels) {
      if (panel.depth != depth) continue;
      panel.box.x = left + width - panel.box.width;
      panel.box.y = top;
      top = panel.box.bottom() + kPanelGap;
      double x = panel.box.x + kPanelPadding;
      for (size_t s = 0; s < panel.stages.size(); ++s) {
        double y = panel.box.y + kPanelHead + kColumnHead;
        for (Cell& cell : panel.cells[s]) {
          cell.box = {x, y, panel.column_widths[s], kCellHeight};
          y += kCellHeight + kRowGap;
        }
        x += panel.column_widths[s] + kColumnGap;
      }
    }
    left += width + kBridgeGap;
  }
}

}  // namespace

std::string Numbered(std::string_view noun, Slot slot) {
  if (slot.count == 1) return absl::StrCat(noun, " ", slot.first);
  return absl::StrCat(noun, "s ", slot.first, "-", slot.end() - 1);
}

std::pair<std::string, std::string> StageTexts(const StepPlan& plan, const Panel& panel,
                                               Slot stages) {
  const PlanStage& stage = plan.stages[panel.first_stage + stages.first];
  if (stages.count > 1) return {Numbered("stage", stages), ""};
  return {Numbered("stage", stages), absl::StrCat("warm-up ", stage.warmup)};
}

std::vector<Panel> MakePanels(const Layout& layout, const StepPlan& plan, int64_t ranks_per_node) {
  std::vector<Panel> panels;
  const std::vector<int64_t> lanes_alone = LanesAlone(layout);
  for (size_t i = 0; i < layout.grids().size(); ++i) {
    panels.push_back(MakePanel(plan, layout.grids()[i], lanes_alone[i], i, ranks_per_node));
  }
  FindDepths(plan, panels);
  Place(panels);
  return panels;
}

const Panel& PanelOf(const std::vector<Panel>& panels, const PlanStage& stage) {
  return panels[IndexOf(panels, stage)];
}

}  // namespace hetero
