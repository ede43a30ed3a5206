#include "hetero/trainer/step/testing/bare_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/grid/axis.h"

namespace hetero {
namespace {

int FirstStageOf(const StepPlan& plan, const std::string& module) {
  return static_cast<int>(std::ranges::find(plan.stages, module, &PlanStage::module) -
                          plan.stages.begin());
}

}  // namespace

BarePlan MakeBarePlan(const std::vector<GridSpec>& grids,
                      const std::vector<std::pair<std::string, std::string>>& edges,
                      int64_t world_size) {
  BarePlan bare{.layout = Layout::Make(grids, world_size).value()};
  StepPlan& plan = bare.plan;
  plan.placement = bare.layout.placement();
  plan.sample_owner = "language";
  plan.num_owner_lanes = bare.layout.Find(plan.sample_owner)->num_lanes();
  plan.batch = {.global_batch_size = plan.num_owner_lanes,
                .samples_per_microbatch = plan.num_owner_lanes};
  const auto add_edge = [&](int source, int destination, int graph_edge) {
    plan.edges.push_back(
        {.source = source,
         .destination = destination,
         .graph_edge = graph_edge,
         .width = 64,
         .returns = true,
         .name = absl::StrCat(plan.stages[source].name(), "-", plan.stages[destination].name())});
  };
  for (const Grid& grid : bare.layout.grids()) {
    const int num_stages = static_cast<int>(grid.Size(Axis::kPp));
    for (int s = 0; s < num_stages; ++s) {
      plan.stages.push_back({.module = grid.name(), .place = {s, num_stages}, .pipeline_rank = s});
      const int stage = static_cast<int>(plan.stages.size()) - 1;
      if (s > 0) add_edge(stage - 1, stage, -1);
    }
  }
  for (size_t e = 0; e < edges.size(); ++e) {
    const int first_of_source = FirstStageOf(plan, edges[e].first);
    add_edge(first_of_source + plan.stages[first_of_source].place.num_stages - 1,
             FirstStageOf(plan, edges[e].second), static_cast<int>(e));
  }
  for (int64_t r = 0; r < world_size; ++r) {
    const std::vector<int> stages = plan.StagesOf(bare.layout, GlobalRank(r));
    if (std::ranges::find(plan.classes, stages, &RankClass::stages) == plan.classes.end()) {
      plan.classes.push_back({.stages = stages, .first_rank = GlobalRank(r)});
    }
  }
  return bare;
}

}  // namespace hetero
