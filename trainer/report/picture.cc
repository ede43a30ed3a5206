#include "hetero/trainer/report/picture.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/rounding.h"
#include "hetero/grid/axis.h"
#include "hetero/tensor/dtype.h"
#include "hetero/trainer/report/panels.h"
#include "hetero/trainer/report/svg.h"

namespace hetero {
namespace {

constexpr std::string_view kInk = "#1f2937";
constexpr std::string_view kFaint = "#4b5563";
constexpr std::string_view kNodeLine = "#9ca3af";

// Around cells one above the other that are on the same node.
void DrawNodes(const Panel& panel, Svg& svg) {
  for (const std::vector<Cell>& column : panel.cells) {
    for (size_t begin = 0; begin < column.size();) {
      const Cell& first = column[begin];
      size_t end = begin + 1;
      const auto is_alone = [](const Cell& cell) { return cell.nodes.count == 1; };
      while (end < column.size() && is_alone(first) && is_alone(column[end]) &&
             column[end].nodes.first == first.nodes.first) {
        ++end;
      }
      const SvgBox& box = first.box;
      svg.AddBox({box.x - kNodePadding, box.y - kNodePadding, box.width + 2 * kNodePadding,
                  column[end - 1].box.bottom() - box.y + 2 * kNodePadding},
                 8, {.stroke = kNodeLine, .dashed = true}, Numbered("node", first.nodes));
      begin = end;
    }
  }
}

void DrawPanel(const StepPlan& plan, const Panel& panel, Svg& svg) {
  const Colors& colors = panel.colors;
  svg.AddBox(panel.box, 10, {.fill = colors.ground, .stroke = colors.line});
  const double left = panel.box.x + kPanelPadding;
  svg.AddText({left, panel.box.y + 24}, panel.grid->name(),
              {.size = 15, .color = colors.line, .bold = true});
  svg.AddText({left, panel.box.y + 41}, panel.sizes, {.size = 11, .color = kFaint});
  for (size_t s = 0; s < panel.stages.size(); ++s) {
    const auto [name, warmup] = StageTexts(plan, panel, panel.stages[s]);
    const double middle = panel.cells[s][0].box.x + panel.column_widths[s] / 2;
    const double top = panel.box.y + kPanelHead;
    svg.AddText({middle, top + 12}, name,
                {.size = 12, .color = kInk, .anchor = "middle", .bold = true});
    if (!warmup.empty()) {
      svg.AddText({middle, top + 25}, warmup, {.size = 10, .color = kFaint, .anchor = "middle"});
    }
  }
  DrawNodes(panel, svg);
  for (size_t s = 0; s < panel.cells.size(); ++s) {
    for (const Cell& cell : panel.cells[s]) {
      const double x = cell.box.x + cell.box.width / 2;
      svg.AddBox(cell.box, 6, {.fill = colors.cell, .stroke = colors.line},
                 absl::StrCat(cell.name, ": ", panel.grid->name(), " ",
                              Numbered("stage", panel.stages[s]), ", ", cell.place));
      svg.AddText({x, cell.box.y + 16}, cell.name,
                  {.size = 12, .color = kInk, .anchor = "middle", .bold = true});
      svg.AddText({x, cell.box.y + 30}, cell.place,
                  {.size = 10, .color = kFaint, .anchor = "middle"});
    }
  }
}

// Whether lanes of the two have samples in common.
bool ShareSamples(Slot lanes, int64_t num_lanes, Slot others, int64_t num_others) {
  return lanes.first * num_others < others.end() * num_lanes &&
         others.first * num_lanes < lanes.end() * num_others;
}

std::string Describe(const StepPlan& plan, const PlanEdge& edge) {
  return absl::StrCat(plan.stages[edge.source].name(), " to ", plan.stages[edge.destination].name(),
                      ": rows of ", edge.width, " ", Name(edge.dtype),
                      edge.returns ? ", their gradients come back" : ", nothing comes back");
}

// Inside a module from every stage to the next, between modules from the last to the first stage.
void DrawEdge(const StepPlan& plan, const PlanEdge& edge, const std::vector<Panel>& panels,
              Svg& svg) {
  const Panel& from = PanelOf(panels, plan.stages[edge.source]);
  const Panel& to = PanelOf(panels, plan.stages[edge.destination]);
  const auto slot_of = [&](const Panel& panel, int stage) -> size_t {
    const int64_t place = plan.stages[stage].place.stage;
    return std::ranges::find_if(panel.stages, [&](Slot slot) { return place < slot.end(); }) -
           panel.stages.begin();
  };
  const size_t source = slot_of(from, edge.source);
  const size_t destination = slot_of(to, edge.destination);
  const bool bridge = edge.graph_edge >= 0;
  if (!bridge && source == destination) return;
  for (size_t i = 0; i < from.lanes.size(); ++i) {
    for (size_t j = 0; j < to.lanes.size(); ++j) {
      if (!ShareSamples(from.lanes[i], from.grid->num_lanes(), to.lanes[j], to.grid->num_lanes())) {
        continue;
      }
      const SvgBox& a = from.cells[source][i].box;
      const SvgBox& b = to.cells[destination][j].box;
      svg.AddArrow({a.right() + 1, a.middle()}, {b.x - 1, b.middle()}, from.colors.line,
                   bridge ? 1.75 : 1.25, edge.returns,
                   absl::StrCat(edge.name, ", ", Numbered("lane", from.lanes[i]), " to ",
                                Numbered("lane", to.lanes[j])));
    }
  }
}

void DrawLegend(const StepPlan& plan, const std::vector<Panel>& panels,
                const PictureOptions& options, Svg& svg) {
  double y = 0;
  bool counts = false;
  bool shares = false;
  for (const Panel& panel : panels) {
    y = std::max(y, panel.box.bottom());
    shares = shares || panel.grid->Size(Axis::kTp) > 1;
    for (const std::vector<Slot>* slots : {&panel.stages, &panel.lanes}) {
      counts = counts || std::ranges::any_of(*slots, [](Slot slot) { return slot.count > 1; });
    }
  }
  y += 32;
  const double text = kPictureLeft + 56;
  const auto line = [&](std::string_view words) {
    svg.AddText({text, y + 4}, words, {.size = 11, .color = kInk});
    y += 22;
  };
  const auto arrow = [&](const PlanEdge& edge, double width, std::string_view words) {
    svg.AddArrow({kPictureLeft, y}, {kPictureLeft + 44, y},
                 PanelOf(panels, plan.stages[edge.source]).colors.line, width, edge.returns);
    line(words);
  };
  // Edges between the stages of a module are alike but for what comes back.
  std::set<std::pair<std::string, bool>> drawn;
  for (const PlanEdge& edge : plan.edges) {
    const std::string& module = plan.stages[edge.source].module;
    if (edge.graph_edge >= 0) {
      arrow(edge, 1.75, Describe(plan, edge));
    } else if (drawn.emplace(module, edge.returns).second) {
      arrow(edge, 1.25,
            absl::StrCat("between stages of ", module, ": rows of ", edge.width, " ",
                         Name(edge.dtype),
                         edge.returns ? ", their gradients come back" : ", nothing comes back"));
    }
  }
  svg.AddBox({kPictureLeft, y - 7, 44, 14}, 5, {.stroke = kNodeLine, .dashed = true});
  line(absl::StrCat("ranks of one node: ", Counted(options.ranks_per_node, "rank"), " a node"));
  const auto ranks = [&](std::string_view words) {
    svg.AddText({kPictureLeft, y + 4}, "n ranks", {.size = 11, .color = kInk, .bold = true});
    line(words);
  };
  if (shares) ranks("the tensor-parallel ranks of a lane, which share its samples");
  if (counts) ranks("a box for n ranks on lanes or stages that are like their neighbours");
}

}  // namespace

std::string DrawLayout(const Layout& layout, const StepPlan& plan, const PictureOptions& options) {
  const std::vector<Panel> panels = MakePanels(layout, plan, options.ranks_per_node);
  Svg svg;
  const int64_t nodes = CeilDiv(layout.world_size(), options.ranks_per_node);
  const std::string title = absl::StrCat(
      Counted(layout.world_size(), "rank"), " on ", Counted(nodes, "node"),
      plan.placement == Placement::kColocated ? ", each with a stage of every module" : "");
  svg.AddText({kPictureLeft, 40}, title, {.size = 18, .color = kInk, .bold = true});
  svg.AddText({kPictureLeft, 62}, plan.DescribeBatch(), {.size = 12, .color = kFaint});
  for (const Panel& panel : panels) DrawPanel(plan, panel, svg);
  for (const PlanEdge& edge : plan.edges) DrawEdge(plan, edge, panels, svg);
  DrawLegend(plan, panels, options, svg);
  return svg.Finish(title);
}

}  // namespace hetero
