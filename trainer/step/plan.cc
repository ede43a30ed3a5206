#include "hetero/trainer/step/plan.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/trainer/step/schedule.h"
#include "hetero/trainer/step/transfer_check.h"

namespace hetero {
namespace {

// Samples, or microbatches ahead, that a plan is made for: their numbers are ints.
constexpr int64_t kMaxPlanned = int64_t{1} << 30;

std::vector<StageNode> Nodes(const StepPlan& plan) {
  std::vector<StageNode> nodes;
  for (const PlanStage& stage : plan.stages) {
    StageNode node{.name = stage.name(), .consumers = {}};
    for (int edge : stage.out_edges) node.consumers.push_back(plan.edges[edge].destination);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

void AddEdge(StepPlan& plan, PlanEdge edge) {
  const int index = static_cast<int>(plan.edges.size());
  edge.name =
      absl::StrCat(plan.stages[edge.source].name(), "-", plan.stages[edge.destination].name());
  plan.stages[edge.source].out_edges.push_back(index);
  plan.stages[edge.destination].in_edges.push_back(index);
  plan.edges.push_back(std::move(edge));
}

// Stages of each module in a row, then the model's edges between last and first stages.
// Precondition: CheckModules finds nothing.
absl::Status AddStages(const Layout& layout, const Model& model, StepPlan& plan) {
  const ModelGraph& graph = model.graph();
  absl::flat_hash_map<std::string, std::pair<int, int>> ends;  // first and last stage
  for (const GraphModule& module : graph.modules) {
    const Grid* grid = layout.Find(module.name);
    const int first = static_cast<int>(plan.stages.size());
    const int num_stages = static_cast<int>(grid->Size(Axis::kPp));
    HETERO_ASSIGN_OR_RETURN(
        const ParameterTable table,
        model.MakeTable(module.name, {.pp = {.rank = 0, .size = grid->Size(Axis::kPp)}}));
    for (int s = 0; s < num_stages; ++s) {
      const bool trains = std::ranges::any_of(table.specs(), [&](const ParameterSpec& spec) {
        return spec.stage == s && spec.trainable && !spec.is_buffer;
      });
      plan.stages.push_back({.module = module.name, .place = {s, num_stages}, .trains = trains});
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

StageWork WorkOf(const StepPlan& plan, int s, bool evaluate) {
  const PlanStage& stage = plan.stages[s];
  StageWork work{.stage = s,
                 .num_microbatches = plan.batch.num_microbatches(),
                 .warmup = stage.warmup,
                 .num_slots = stage.num_slots,
                 .runs_backward = stage.runs_backward && !evaluate};
  for (const int edge : stage.in_edges) {
    work.receive_forward.push_back(ForwardChannel(edge));
    if (work.runs_backward && plan.edges[edge].returns) {
      work.send_backward.push_back(BackwardChannel(edge));
    }
  }
  for (const int edge : stage.out_edges) {
    work.send_forward.push_back(ForwardChannel(edge));
    if (work.runs_backward && plan.edges[edge].returns) {
      work.receive_backward.push_back(BackwardChannel(edge));
    }
  }
  return work;
}

// How the stages of a rank share it.
enum class Sharing { kAlone, kAlternating, kPhased };

Sharing SharingOf(const StepPlan& plan) {
  if (plan.placement != Placement::kColocated) return Sharing::kAlone;
  const bool pipelines = std::ranges::any_of(
      plan.stages, [](const PlanStage& stage) { return stage.place.num_stages > 1; });
  return pipelines ? Sharing::kPhased : Sharing::kAlternating;
}

int NumSlots(const StepPlan& plan, const PlanStage& stage, std::string_view last_module) {
  const int m = plan.batch.num_microbatches();
  switch (SharingOf(plan)) {
    case Sharing::kAlone:
      break;
    case Sharing::kAlternating:
      return 1;
    case Sharing::kPhased:
      if (stage.module != last_module) return m;
      break;
  }
  return std::min(m, stage.warmup + 1);
}

// `receives_ahead`: of ranks with one stage.
std::vector<Op> MakeProgram(const StepPlan& plan, std::span<const int> stages, int receives_ahead,
                            bool evaluate) {
  std::vector<StageWork> works;
  for (const int s : stages) works.push_back(WorkOf(plan, s, evaluate));
  std::vector<Op> program;
  switch (SharingOf(plan)) {
    case Sharing::kAlone:
      CHECK_EQ(works.size(), 1u);
      program = MakePipelineProgram(works.front(), receives_ahead);
      break;
    case Sharing::kAlternating:
      program = MakeAlternatingProgram(works);
      break;
    case Sharing::kPhased:
      program = MakePhasedProgram(works);
      break;
  }
  if (evaluate) return program;
  for (const int s : stages) {
    program.push_back({.kind = OpKind::kReduceGradients, .stage = s});
    program.push_back({.kind = OpKind::kFinishStep, .stage = s});
  }
  program.push_back({.kind = OpKind::kUpdate});
  return program;
}

// Ranks by the stages that they hold, in the order of their first ranks.
void AddClasses(const Layout& layout, StepPlan& plan) {
  for (int64_t r = 0; r < layout.world_size(); ++r) {
    const std::vector<int> stages = plan.StagesOf(layout, GlobalRank(r));
    auto found = std::ranges::find(plan.classes, stages, &RankClass::stages);
    if (found == plan.classes.end()) {
      plan.classes.push_back({.stages = stages, .first_rank = GlobalRank(r)});
      found = plan.classes.end() - 1;
    }
    ++found->num_ranks;
  }
}

absl::Status Check(const StepPlan& plan) {
  std::vector<ChannelEnds> channels;
  for (const PlanEdge& edge : plan.edges) {
    channels.push_back({edge.source, edge.destination, absl::StrCat(edge.name, " forward")});
    channels.push_back({edge.destination, edge.source, absl::StrCat(edge.name, " backward")});
  }
  for (const bool evaluate : {false, true}) {
    std::vector<CheckedProgram> programs;
    for (const RankClass& ranks : plan.classes) {
      programs.push_back({.name = plan.ClassName(ranks),
                          .stages = ranks.stages,
                          .ops = evaluate ? ranks.evaluate : ranks.train});
    }
    HETERO_RETURN_IF_ERROR(CheckProgress(programs, channels, plan.transfer_model));
    HETERO_RETURN_IF_ERROR(CheckTransfers(programs, channels));
  }
  return absl::OkStatus();
}

// The kind of operation after which a microbatch that `stage` received is no longer needed.
OpKind LastUse(std::span<const Op> program, int stage) {
  const bool backward = std::ranges::any_of(
      program, [&](const Op& op) { return op.kind == OpKind::kBackward && op.stage == stage; });
  return backward ? OpKind::kBackward : OpKind::kForward;
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
  HETERO_RETURN_IF_ERROR(ViolationsError(CheckModules(grids, model.graph().ModuleNames())));
  HETERO_RETURN_IF_ERROR(AddStages(layout, model, plan));
  FindBackward(plan);
  AddClasses(layout, plan);

  // What is posted ahead is never more than a step has.
  const int run_ahead = plan.placement == Placement::kColocated
                            ? 0
                            : std::min(encoder_run_ahead, plan.batch.num_microbatches());
  HETERO_ASSIGN_OR_RETURN(const std::vector<int> warmups, MakeWarmups(Nodes(plan)));
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    PlanStage& stage = plan.stages[s];
    const bool source = stage.in_edges.empty() && !stage.out_edges.empty();
    stage.warmup = warmups[s] + (source ? run_ahead : 0);
    stage.num_slots = NumSlots(plan, stage, model.graph().SampleOwner().name);
  }
  for (RankClass& ranks : plan.classes) {
    ranks.train = MakeProgram(plan, ranks.stages, run_ahead, /*evaluate=*/false);
    ranks.evaluate = MakeProgram(plan, ranks.stages, run_ahead, /*evaluate=*/true);
  }
  const bool synchronous = plan.placement != Placement::kColocated && run_ahead == 0;
  plan.run_ahead = run_ahead;
  plan.transfer_model = synchronous ? TransferModel::kSynchronous : TransferModel::kChannels;
  HETERO_RETURN_IF_ERROR(Check(plan));
  return plan;
}

std::vector<int> StepPlan::StagesOf(const Layout& layout, GlobalRank rank) const {
  std::vector<int> own;
  for (size_t s = 0; s < stages.size(); ++s) {
    const Grid& grid = *layout.Find(stages[s].module);
    if (grid.Contains(rank) && grid.Coord(rank, Axis::kPp) == stages[s].place.stage) {
      own.push_back(static_cast<int>(s));
    }
  }
  return own;
}

const RankClass& StepPlan::ClassOf(const Layout& layout, GlobalRank rank) const {
  const auto found = std::ranges::find(classes, StagesOf(layout, rank), &RankClass::stages);
  CHECK(found != classes.end()) << "rank " << rank;
  return *found;
}

absl::StatusOr<RowPlan> StepPlan::PlanRows(const Layout& layout, int edge,
                                           std::span<const int64_t> rows_per_sample) const {
  const PlanStage& source = stages[edges[edge].source];
  const PlanStage& destination = stages[edges[edge].destination];
  const LaneSide from = {layout.Find(source.module), source.place.stage};
  const LaneSide to = {layout.Find(destination.module), destination.place.stage};
  if (edges[edge].graph_edge < 0) return PlanBetweenStages(from, to, rows_per_sample);
  if (SharingOf(*this) == Sharing::kAlternating) {
    return PlanColocated(from, to, rows_per_sample);
  }
  return PlanSliced(from, to, rows_per_sample);
}

int StepPlan::NumReceiveSlots(int channel) const {
  const PlanEdge& edge = edges[EdgeOf(channel)];
  const int stage = IsForward(channel) ? edge.destination : edge.source;
  int most = 1;
  for (const RankClass& ranks : classes) {
    for (const std::vector<Op>* program : {&ranks.train, &ranks.evaluate}) {
      const OpKind last_use = LastUse(*program, stage);
      int held = 0;
      for (const Op& op : *program) {
        if (op.kind == OpKind::kPostReceive && op.channel == channel) most = std::max(most, ++held);
        if (op.kind == last_use && op.stage == stage) --held;
      }
    }
  }
  return most;
}

std::string StepPlan::ClassName(const RankClass& ranks) const {
  return absl::StrJoin(ranks.stages, " + ",
                       [&](std::string* out, int s) { absl::StrAppend(out, stages[s].name()); });
}

std::string StepPlan::OpName(const Op& op) const {
  switch (op.kind) {
    case OpKind::kReduceGradients:
      return absl::StrCat(stages[op.stage].name(), " gradients");
    case OpKind::kFinishStep:
      return absl::StrCat(stages[op.stage].name(), " finish");
    case OpKind::kUpdate:
      return "optimizer";
    default:
      return absl::StrCat(stages[op.stage].name(), " ", hetero::ToString(op));
  }
}

std::string StepPlan::ToString() const {
  std::string text = absl::StrCat(batch.ToString(), "\n");
  for (const RankClass& ranks : classes) {
    absl::StrAppend(&text, "  ", ClassName(ranks), " x ", ranks.num_ranks, " (");
    absl::StrAppend(&text,
                    absl::StrJoin(ranks.stages, ", ",
                                  [&](std::string* out, int s) {
                                    absl::StrAppend(out, "warm-up ", stages[s].warmup, ", ",
                                                    stages[s].num_slots, " in flight");
                                  }),
                    "): ", hetero::ToString(ranks.train), "\n");
  }
  return text;
}

}  // namespace hetero
