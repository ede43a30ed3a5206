#include "hetero/trainer/plan.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"

namespace hetero {
namespace {

// Samples, or microbatches ahead, that a plan is made for: their numbers are ints.
constexpr int64_t kMaxPlanned = int64_t{1} << 30;

std::vector<StageNode> Nodes(const StepPlan& plan) {
  std::vector<StageNode> nodes;
  for (const PlanStage& stage : plan.stages) {
    StageNode node{.name = stage.name(), .consumers = {}, .runs_backward = stage.runs_backward};
    for (int edge : stage.out_edges) node.consumers.push_back(plan.edges[edge].destination);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

void AddEdge(StepPlan& plan, int source, int destination, int64_t width) {
  const int index = static_cast<int>(plan.edges.size());
  plan.edges.push_back(
      {.source = source,
       .destination = destination,
       .width = width,
       .name = absl::StrCat(plan.stages[source].name(), "-", plan.stages[destination].name())});
  plan.stages[source].out_edges.push_back(index);
  plan.stages[destination].in_edges.push_back(index);
}

// Stages of each module in a row, then the model's edges between last and first stages.
// Precondition: CheckModules finds nothing.
absl::Status AddStages(const Layout& layout, const Model& model, StepPlan& plan) {
  absl::flat_hash_map<std::string, std::pair<int, int>> ends;  // first and last stage
  for (const std::string& module : model.modules()) {
    const Grid* grid = layout.Find(module);
    const int first = static_cast<int>(plan.stages.size());
    const int num_stages = static_cast<int>(grid->Size(Axis::kPp));
    HETERO_ASSIGN_OR_RETURN(
        const ParameterTable table,
        model.MakeTable(module, {.pp = {.rank = 0, .size = grid->Size(Axis::kPp)}}));
    for (int s = 0; s < num_stages; ++s) {
      const bool trains = std::ranges::any_of(table.specs(), [&](const ParameterSpec& spec) {
        return spec.stage == s && spec.trainable && !spec.is_buffer;
      });
      plan.stages.push_back({.module = module, .place = {s, num_stages}, .trains = trains});
      if (s > 0) AddEdge(plan, first + s - 1, first + s, model.hidden_width(module));
    }
    ends[module] = {first, first + num_stages - 1};
  }
  for (const ModelEdge& edge : model.edges()) {
    AddEdge(plan, ends.at(edge.source).second, ends.at(edge.destination).first, edge.width);
  }
  return absl::OkStatus();
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

bool Returns(const StepPlan& plan, const PlanStage& stage) {
  return std::ranges::any_of(stage.in_edges, [&](int edge) { return plan.edges[edge].returns; });
}

ScheduleShape ShapeOf(const StepPlan& plan, const PlanStage& stage, bool forward_only) {
  return {.num_microbatches = plan.batch.num_microbatches(),
          .warmup = stage.warmup,
          .has_upstream = !stage.in_edges.empty(),
          .has_downstream = !stage.out_edges.empty(),
          .forward_only = forward_only,
          .returns = Returns(plan, stage)};
}

}  // namespace

std::string BatchShape::ToString() const {
  return absl::StrCat(Counted(global_batch_size, "sample"),
                      " a step: ", Counted(num_microbatches(), "microbatch", "microbatches"),
                      " of ", micro_batch_size, " on ", Counted(language_lanes, "language lane"));
}

std::string PlanStage::name() const { return absl::StrCat(module, ".", place.stage); }

std::vector<Violation> CheckModules(std::span<const std::string> grid_names,
                                    std::span<const std::string> modules) {
  const auto missing_in = [](std::span<const std::string> names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) == names.end();
  };
  std::vector<std::string> without_grid;
  for (const std::string& module : modules) {
    if (missing_in(grid_names, module)) without_grid.push_back(module);
  }
  std::vector<Violation> violations;
  for (size_t i = 0; i < grid_names.size(); ++i) {
    if (!missing_in(modules, grid_names[i])) continue;
    Violation violation =
        Refuse(absl::StrCat("grids[", i, "].name"),
               absl::StrCat(" is '", grid_names[i], "', the model has no such module, it has ",
                            absl::StrJoin(modules, ", ")));
    if (without_grid.empty()) {
      absl::StrAppend(&violation.message, ", each with a grid; remove this grid");
    } else {
      violation.corrections.push_back({{violation.field, without_grid.front()}});
      without_grid.erase(without_grid.begin());
    }
    violations.push_back(std::move(violation));
  }
  for (const std::string& module : without_grid) {
    violations.push_back(
        {"grids",
         absl::StrCat("module ", module, " of the model has no grid; add one of that name"),
         {{{absl::StrCat("grids[", grid_names.size(), "].name"), module}}}});
  }
  return violations;
}

absl::StatusOr<StepPlan> MakePlan(const Layout& layout, const Model& model,
                                  int64_t micro_batch_size, int64_t global_batch_size,
                                  int encoder_run_ahead) {
  StepPlan plan;
  plan.batch = {micro_batch_size, global_batch_size, layout.language().num_lanes()};
  plan.placement = layout.placement();
  const int run_ahead = plan.placement == Placement::kNonColocated ? encoder_run_ahead : 0;
  for (const auto& [name, value, least] :
       {std::tuple("micro_batch_size", micro_batch_size, 1),
        std::tuple("global_batch_size", global_batch_size, 1),
        std::tuple("encoder_run_ahead", int64_t{encoder_run_ahead}, 0)}) {
    if (value >= least && value <= kMaxPlanned) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is ", value, ", must be from ", least, " to ", kMaxPlanned,
                     "; nearest: ", value < least ? least : kMaxPlanned));
  }
  const int64_t samples = plan.batch.samples_per_microbatch();
  if (global_batch_size < samples || global_batch_size % samples != 0) {
    const int64_t nearest = std::max<int64_t>(1, (global_batch_size + samples / 2) / samples);
    return absl::InvalidArgumentError(absl::StrCat(
        "global_batch_size ", global_batch_size, " is not a multiple of micro_batch_size ",
        micro_batch_size, " x ", Counted(plan.batch.language_lanes, "language lane"),
        "; nearest is ", nearest * samples));
  }
  std::vector<std::string> grids;
  for (const Grid& grid : layout.grids()) grids.push_back(grid.name());
  HETERO_RETURN_IF_ERROR(ViolationsError(CheckModules(grids, model.modules())));
  HETERO_RETURN_IF_ERROR(AddStages(layout, model, plan));
  FindBackward(plan);

  // What is posted ahead is never more than a step has.
  plan.receives_ahead = std::clamp(run_ahead, 1, plan.batch.num_microbatches());
  std::vector<StageNode> nodes = Nodes(plan);
  HETERO_ASSIGN_OR_RETURN(const std::vector<int> warmups, MakeWarmups(nodes));
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    PlanStage& stage = plan.stages[s];
    const bool source = stage.in_edges.empty() && !stage.out_edges.empty();
    stage.warmup = warmups[s] + (source ? run_ahead : 0);
    plan.train_programs.push_back(MakeSchedule(ShapeOf(plan, stage, !stage.runs_backward)));
    plan.evaluate_programs.push_back(MakeSchedule(ShapeOf(plan, stage, /*forward_only=*/true)));
  }
  if (plan.placement == Placement::kNonColocated) {
    const TransferModel transfers =
        run_ahead == 0 ? TransferModel::kSynchronous : TransferModel::kChannels;
    HETERO_RETURN_IF_ERROR(CheckDeadlockFree(nodes, plan.train_programs, transfers));
    HETERO_RETURN_IF_ERROR(CheckDeadlockFree(nodes, plan.evaluate_programs, transfers));
  }
  return plan;
}

std::vector<RankStep> StepPlan::RankProgram(const Layout& layout, GlobalRank rank,
                                            bool evaluate) const {
  std::vector<int> own;
  for (size_t s = 0; s < stages.size(); ++s) {
    const Grid* grid = layout.Find(stages[s].module);
    if (grid->Contains(rank) && grid->Coord(rank, Axis::kPp) == stages[s].place.stage) {
      own.push_back(static_cast<int>(s));
    }
  }
  std::vector<RankStep> program;
  const auto add = [&](int s, const ScheduleStep& step) {
    program.push_back({s, step, absl::StrCat(stages[s].name(), " ", hetero::ToString(step))});
  };
  if (own.size() == 1) {
    for (const ScheduleStep& step : evaluate ? evaluate_programs[own[0]] : train_programs[own[0]]) {
      add(own[0], step);
    }
    return program;
  }
  for (int i = 0; i < batch.num_microbatches(); ++i) {
    for (int s : own) {
      if (!stages[s].in_edges.empty()) add(s, {StepKind::kReceiveForward, i});
      add(s, {StepKind::kForward, i});
      if (!stages[s].out_edges.empty()) add(s, {StepKind::kSendForward, i});
    }
    if (evaluate) continue;
    for (auto s = own.rbegin(); s != own.rend(); ++s) {
      if (!stages[*s].runs_backward) continue;
      if (!stages[*s].out_edges.empty()) add(*s, {StepKind::kReceiveBackward, i});
      add(*s, {StepKind::kBackward, i});
      if (Returns(*this, stages[*s])) add(*s, {StepKind::kSendBackward, i});
    }
  }
  return program;
}

int StepPlan::NumSlots(int stage) const {
  return placement == Placement::kColocated
             ? 1
             : std::min(batch.num_microbatches(), stages[stage].warmup + 1);
}

std::string StepPlan::ToString() const {
  std::string text = absl::StrCat(batch.ToString(), "\n");
  for (size_t s = 0; s < stages.size(); ++s) {
    absl::StrAppend(&text, "  ", stages[s].name(), " (warm-up ", stages[s].warmup, ", ",
                    NumSlots(static_cast<int>(s)),
                    " in flight): ", hetero::ToString(train_programs[s]), "\n");
  }
  return text;
}

}  // namespace hetero
