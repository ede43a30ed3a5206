#include "hetero/trainer/step/plan_stages.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"

namespace hetero {
namespace {

int64_t NumStages(const GraphModule& module, int64_t pp, int64_t pipeline_chunks) {
  return module.owns_samples ? pp * pipeline_chunks : pp;
}

void AddEdge(StepPlan& plan, PlanEdge edge) {
  const int index = static_cast<int>(plan.edges.size());
  edge.name =
      absl::StrCat(plan.stages[edge.source].name(), "-", plan.stages[edge.destination].name());
  plan.stages[edge.source].out_edges.push_back(index);
  plan.stages[edge.destination].in_edges.push_back(index);
  plan.edges.push_back(std::move(edge));
}

// Which stages run backward and which edges return: what comes after something that trains.
void FindBackward(StepPlan& plan) {
  for (PlanStage& stage : plan.stages) stage.runs_backward = stage.trains;
  for (bool changed = true; changed;) {
    changed = false;
    for (PlanEdge& edge : plan.edges) {
      edge.returns = plan.stages[edge.source].runs_backward;
      PlanStage& destination = plan.stages[edge.destination];
      if (!edge.returns || destination.runs_backward) continue;
      destination.runs_backward = true;
      changed = true;
    }
  }
}

}  // namespace

absl::StatusOr<ParameterTable> StagedTable(const Model& model, const GraphModule& module,
                                           int64_t pp, int64_t pipeline_chunks) {
  const int64_t num_stages = NumStages(module, pp, pipeline_chunks);
  absl::StatusOr<ParameterTable> table =
      model.MakeTable(module.name, {.pp = {.rank = 0, .size = num_stages}});
  if (num_stages > pp) {
    HETERO_RETURN_IF_ERROR(table.status())
        .With(absl::StrCat(module.name, ".pp ", pp, " x pipeline_chunks ", pipeline_chunks));
  }
  return table;
}

absl::Status AddStages(const Layout& layout, const Model& model, int pipeline_chunks,
                       StepPlan& plan) {
  const ModelGraph& graph = model.graph();
  absl::flat_hash_map<std::string, std::pair<int, int>> ends;  // first and last stage
  for (const GraphModule& module : graph.modules) {
    const int64_t pp = layout.Find(module.name)->Size(Axis::kPp);
    const int first = static_cast<int>(plan.stages.size());
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                            StagedTable(model, module, pp, pipeline_chunks));
    const int num_stages = static_cast<int>(NumStages(module, pp, pipeline_chunks));
    for (int s = 0; s < num_stages; ++s) {
      const bool trains = std::ranges::any_of(table.specs(), [&](const ParameterSpec& spec) {
        return spec.stage == s && spec.trainable && !spec.is_buffer;
      });
      plan.stages.push_back({.module = module.name,
                             .place = {s, num_stages},
                             .pipeline_rank = s % pp,
                             .chunk = static_cast<int>(s / pp),
                             .trains = trains});
      if (s == 0) continue;
      AddEdge(plan, {.source = first + s - 1,
                     .destination = first + s,
                     .width = module.hidden_width,
                     .dtype = module.storage});
    }
    ends[module.name] = {first, first + num_stages - 1};
  }
  for (size_t e = 0; e < graph.edges.size(); ++e) {
    const GraphEdge& edge = graph.edges[e];
    AddEdge(plan, {.source = ends.at(edge.source).second,
                   .destination = ends.at(edge.destination).first,
                   .graph_edge = static_cast<int>(e),
                   .width = edge.width,
                   .dtype = graph.Module(edge.destination).storage});
  }
  FindBackward(plan);
  return absl::OkStatus();
}

}  // namespace hetero
