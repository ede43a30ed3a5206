#include "hetero/trainer/step/plan.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/rounding.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/plan_lanes.h"

namespace hetero {
namespace {

// The kind of operation after which a microbatch that `stage` received is no longer needed: what it
// read is, for the gradients of weights, until the last of its backward.
OpKind LastUse(std::span<const Op> program, int stage) {
  for (const Op& op : program) {
    if (op.stage == stage && EndsBackward(op.kind)) return op.kind;
  }
  return OpKind::kForward;
}

}  // namespace

std::string StepPlan::DescribeBatch() const {
  return absl::StrCat(Counted(batch.global_batch_size, "sample"),
                      " a step: ", Counted(num_microbatches(), "microbatch", "microbatches"),
                      " of ", batch.samples_per_microbatch / num_owner_lanes, " on ",
                      Counted(num_owner_lanes, absl::StrCat(sample_owner, " lane")));
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

std::optional<std::string> ImageEncoder(const ModelGraph& graph) {
  for (const GraphEdge& edge : graph.edges) {
    if (std::holds_alternative<ImageForm>(graph.modalities[edge.modality].form)) return edge.source;
  }
  return std::nullopt;
}

std::vector<Violation> CheckChunks(const Layout& layout, std::string_view sample_owner,
                                   int64_t pipeline_chunks, const data::BatchLayout& batch,
                                   std::string_view batch_field) {
  if (pipeline_chunks == 1) return {};
  const int64_t pp = layout.Find(sample_owner)->Size(Axis::kPp);
  const int64_t m = batch.NumMicrobatches();
  const auto needs = [&](Assignment correction, auto... what) -> std::vector<Violation> {
    return {
        {.field = "pipeline_chunks",
         .message = absl::StrCat("pipeline_chunks is ", pipeline_chunks, ", which needs ", what...),
         .corrections = {{std::move(correction)}}}};
  };
  const Assignment one = {"pipeline_chunks", "1"};
  if (pp == 1) return needs(one, sample_owner, ".pp above 1");
  if (layout.placement() == Placement::kColocated) {
    return needs(one, "modules on ranks of their own");
  }
  if (m % pp == 0) return {};
  return needs(
      {std::string(batch_field), absl::StrCat(RoundUp(m, pp) * batch.samples_per_microbatch)},
      "a multiple of ", sample_owner, ".pp ", pp, " microbatches a step, not ", m);
}

Sharing StepPlan::sharing() const {
  if (placement != Placement::kColocated) return Sharing::kAlone;
  const bool pipelines = std::ranges::any_of(
      stages, [](const PlanStage& stage) { return stage.place.num_stages > 1; });
  return pipelines ? Sharing::kPhased : Sharing::kAlternating;
}

std::vector<int> StepPlan::StagesOf(const Layout& layout, GlobalRank rank) const {
  std::vector<int> own;
  for (size_t s = 0; s < stages.size(); ++s) {
    const Grid& grid = *layout.Find(stages[s].module);
    if (grid.Contains(rank) && grid.Coord(rank, Axis::kPp) == stages[s].pipeline_rank) {
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

LaneBlock StepPlan::AllLanes(const Layout& layout, int edge) const {
  const auto side = [&](const PlanStage& stage) {
    return LaneSide{layout.Find(stage.module), stage.pipeline_rank};
  };
  return {side(stages[edges[edge].source]), side(stages[edges[edge].destination])};
}

LaneBlock StepPlan::BlockOf(const Layout& layout, int edge, int stage, GlobalRank rank) const {
  const LaneBlock all = AllLanes(layout, edge);
  if (edges[edge].graph_edge >= 0 && Balances(edge)) return all;
  return stage == edges[edge].source ? BlockOfSource(all.source, all.destination, rank)
                                     : BlockOfDestination(all.source, all.destination, rank);
}

LaneBlock StepPlan::JoinedLanes(const Layout& layout, int edge, int stage, GlobalRank rank) const {
  const bool crosses = edges[edge].graph_edge >= 0 && sharing() == Sharing::kPhased;
  return crosses ? AllLanes(layout, edge) : BlockOf(layout, edge, stage, rank);
}

absl::StatusOr<RowPlan> StepPlan::PlanRows(const LaneBlock& lanes, int edge,
                                           std::span<const SampleRows> samples) const {
  if (edges[edge].graph_edge >= 0) return PlanOwners(lanes.source, lanes.destination, samples);
  std::vector<int64_t> rows_per_sample;
  for (const SampleRows& sample : samples) rows_per_sample.push_back(sample.num_rows);
  return PlanBetweenStages(lanes.source, lanes.destination, rows_per_sample);
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
    case OpKind::kGatherParameters:
      return absl::StrCat(stages[op.stage].name(), " parameters");
    case OpKind::kFinishStep:
      return absl::StrCat(stages[op.stage].name(), " finish");
    case OpKind::kUpdate:
      return "optimizer";
    default: {
      Op of_stage = op;
      of_stage.chunk = 0;  // which the stage's name tells
      return absl::StrCat(stages[op.stage].name(), " ", hetero::ToString(of_stage));
    }
  }
}

std::string StepPlan::ToString() const {
  std::string text = absl::StrCat(DescribeBatch(), "\n");
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
