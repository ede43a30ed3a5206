#include "hetero/trainer/engine.h"

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/row_plan.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

ShardSpec ShardSpecOf(const Grid& grid, GlobalRank rank) {
  const auto axis = [&](Axis which) {
    return ShardSpec::Axis{grid.Coord(rank, which), grid.Size(which)};
  };
  return {.tp = axis(Axis::kTp),
          .ep = axis(Axis::kEp),
          .expt_tp = axis(Axis::kExptTp),
          .pp = axis(Axis::kPp)};
}

// Of a step's span in traces.
std::string_view CategoryOf(StepKind kind) {
  switch (kind) {
    case StepKind::kForward:
      return "forward";
    case StepKind::kBackward:
      return "backward";
    case StepKind::kReceiveForward:
    case StepKind::kReceiveBackward:
      return "receive";
    case StepKind::kSendForward:
    case StepKind::kSendBackward:
      return "send";
  }
  return "";
}

// Where an edge's rows go, for given counts.
absl::StatusOr<RowPlan> PlanEdgeRows(const StepPlan& plan, const Grid& source,
                                     const Grid& destination,
                                     std::span<const int64_t> rows_per_sample) {
  return plan.placement == Placement::kColocated
             ? PlanColocated(source, destination, rows_per_sample)
             : PlanSliced(source, destination, rows_per_sample);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options) {
  auto engine = std::unique_ptr<Engine>(new Engine(std::move(options)));
  const EngineOptions& o = engine->options_;
  const bool counting = !o.memory.has_value();
  CHECK_EQ(counting, o.device.kind == DeviceKind::kShapeOnly);
  if (counting) {
    engine->workspace_ = std::make_unique<Arena>(Arena::Counting(MemoryLabel::kWorkspace));
  } else {
    HETERO_ASSIGN_OR_RETURN(
        Arena workspace, Arena::Create(o.device, MemoryLabel::kWorkspace, o.memory->workspace_bytes,
                                       engine->ledger_));
    engine->workspace_ = std::make_unique<Arena>(std::move(workspace));
  }
  HETERO_ASSIGN_OR_RETURN(engine->stream_, Stream::Create(o.device, *engine->workspace_));
  for (size_t s = 0; s < o.train.stages.size(); ++s) {
    const Grid* grid = o.layout.Find(o.train.stages[s].module);
    if (grid->Contains(o.rank) && grid->Coord(o.rank, Axis::kPp) == o.train.stages[s].place.stage) {
      HETERO_RETURN_IF_ERROR(engine->MakeStage(static_cast<int>(s))).With(o.train.stages[s].name());
    }
  }
  HETERO_RETURN_IF_ERROR(engine->MakeEdges());
  for (Split split : {Split::kTrain, Split::kEvaluate}) {
    const StepPlan* plan = engine->PlanOf(split);
    if (plan == nullptr) continue;
    engine->programs_[static_cast<int>(split)] =
        plan->RankProgram(o.layout, o.rank, split == Split::kEvaluate);
  }
  return engine;
}

absl::Status Engine::MakeStage(int index) {
  const PlanStage& plan_stage = options_.train.stages[index];
  const Grid& grid = *options_.layout.Find(plan_stage.module);
  const int num_slots = std::max(options_.train.NumSlots(index),
                                 options_.evaluate ? options_.evaluate->NumSlots(index) : 1);
  OwnStage own{.index = index, .name = plan_stage.name(), .grid = &grid};
  const ShardSpec shard = ShardSpecOf(grid, options_.rank);
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          options_.model.MakeTable(plan_stage.module, shard));
  HETERO_ASSIGN_OR_RETURN(
      own.parameters,
      ParameterStore::Create(table.Stage(plan_stage.place.stage), shard, options_.device, ledger_));
  HETERO_RETURN_IF_ERROR(own.parameters->Initialize(options_.seed, *stream_));
  HETERO_ASSIGN_OR_RETURN(own.stage, options_.model.MakeStage(plan_stage.module, plan_stage.place,
                                                              {.parameters = *own.parameters,
                                                               .communicators = {},
                                                               .device = options_.device,
                                                               .ledger = ledger_,
                                                               .num_slots = num_slots}));
  for (auto [family, communicator] : {std::pair(Family::kDpCpGtpRemat, &own.data_parallel),
                                      std::pair(Family::kExptDp, &own.expert_data_parallel)}) {
    const Group group = *grid.GroupOf(family, options_.rank);
    if (group.size() < 2 || !plan_stage.trains) continue;
    HETERO_ASSIGN_OR_RETURN(
        *communicator,
        options_.factory.Create(
            {absl::StrCat("gradient.", FamilyName(family), ".", plan_stage.module), group}));
  }

  Runtime runtime;
  for (int s = 0; s < num_slots; ++s) {
    Arena arena = Arena::Counting(MemoryLabel::kActivations);
    if (options_.memory.has_value()) {
      HETERO_ASSIGN_OR_RETURN(
          arena, Arena::Create(options_.device, MemoryLabel::kActivations,
                               options_.memory->activation_bytes[own_.size()], ledger_));
    }
    runtime.slots.push_back({.activations = std::move(arena)});
  }
  for (Split split : {Split::kTrain, Split::kEvaluate}) {
    const StepPlan* plan = PlanOf(split);
    if (plan == nullptr) continue;
    HETERO_ASSIGN_OR_RETURN(runtime.feeds[static_cast<int>(split)],
                            options_.make_feed(*plan, index, split, options_.device, ledger_));
  }
  own_.push_back(std::move(own));
  runtimes_.push_back(std::move(runtime));
  return absl::OkStatus();
}

absl::Status Engine::MakeEdges() {
  for (size_t e = 0; e < options_.train.edges.size(); ++e) {
    const PlanEdge& plan_edge = options_.train.edges[e];
    if (OwnIndex(plan_edge.source) < 0 && OwnIndex(plan_edge.destination) < 0) continue;
    Edge edge{.index = static_cast<int>(e)};
    const Grid& source = *options_.layout.Find(options_.train.stages[plan_edge.source].module);
    const Grid& destination =
        *options_.layout.Find(options_.train.stages[plan_edge.destination].module);
    BridgeOptions bridge{.edge = static_cast<int64_t>(e),
                         .dtype = options_.model.storage(),
                         .width = plan_edge.width,
                         .num_slots = 1,
                         .returns = plan_edge.returns};
    RowPlan example;
    for (Split split : {Split::kTrain, Split::kEvaluate}) {
      const StepPlan* plan = PlanOf(split);
      if (plan == nullptr) continue;
      // Rows stay in their slot until the consumer's backward, and receives are posted ahead.
      bridge.num_slots =
          std::max<int64_t>({bridge.num_slots, plan->NumSlots(plan_edge.source),
                             plan->NumSlots(plan_edge.destination) + plan->receives_ahead - 1});
      const BatchFeed& feed = *runtimes_[0].feeds[static_cast<int>(split)];
      const std::vector<int64_t> rows(plan->batch.samples_per_microbatch(),
                                      feed.max_rows() / feed.num_samples());
      HETERO_ASSIGN_OR_RETURN(example, PlanEdgeRows(*plan, source, destination, rows));
      bridge.max_forward_rows =
          std::max(bridge.max_forward_rows, DestinationRows(example, options_.rank));
      bridge.max_backward_rows =
          std::max(bridge.max_backward_rows, SourceRows(example, options_.rank));
    }
    HETERO_ASSIGN_OR_RETURN(edge.bridge,
                            Bridge::Create(bridge, source, destination, example, options_.rank,
                                           options_.factory, options_.device, ledger_));
    edges_.push_back(std::move(edge));
  }
  return absl::OkStatus();
}

absl::Status Engine::RunTraining(int64_t step) { return Run(Split::kTrain, step); }

absl::Status Engine::RunEvaluation(int64_t step) {
  CHECK(options_.evaluate != nullptr);
  return Run(Split::kEvaluate, step);
}

absl::Status Engine::Run(Split split, int64_t step) {
  const StepPlan& plan = *PlanOf(split);
  for (Edge& edge : edges_) {
    if (!edge.bridge->forward().is_destination()) continue;
    for (int i = 0; i < std::min(plan.receives_ahead, plan.batch.num_microbatches()); ++i) {
      HETERO_RETURN_IF_ERROR(PostForwardReceive(split, step, edge, i));
    }
  }
  for (const RankStep& rank_step : programs_[static_cast<int>(split)]) {
    if (options_.stop_requested && options_.stop_requested()) {
      return absl::CancelledError("the step was not finished");
    }
    const Span span(options_.spans, rank_step.name, CategoryOf(rank_step.step.kind));
    HETERO_RETURN_IF_ERROR(Execute(split, step, rank_step))
        .With(absl::StrCat("step ", step, " ", rank_step.name));
  }
  for (Runtime& runtime : runtimes_) {
    for (Slot& slot : runtime.slots) HETERO_RETURN_IF_ERROR(FinishSends(slot));
  }
  return absl::OkStatus();
}

absl::Status Engine::Execute(Split split, int64_t step, const RankStep& rank_step) {
  const StepPlan& plan = *PlanOf(split);
  const int own = OwnIndex(rank_step.stage);
  const int i = rank_step.step.microbatch;
  const PlanStage& stage = plan.stages[rank_step.stage];
  Slot& slot = runtimes_[own].slots[SlotOf(own, i)];
  switch (rank_step.step.kind) {
    case StepKind::kReceiveForward:
      slot.upstream.clear();
      for (int e : stage.in_edges) {
        Edge& edge = EdgeAt(e);
        HETERO_ASSIGN_OR_RETURN(const TensorView rows, edge.forward.front()->Wait(*stream_));
        edge.forward.pop_front();
        slot.upstream.push_back(rows);
        if (i + plan.receives_ahead < plan.batch.num_microbatches()) {
          HETERO_RETURN_IF_ERROR(PostForwardReceive(split, step, edge, i + plan.receives_ahead));
        }
      }
      return absl::OkStatus();
    case StepKind::kForward:
      return Forward(split, step, own, i);
    case StepKind::kSendForward:
      for (int e : stage.out_edges) {
        Edge& edge = EdgeAt(e);
        HETERO_ASSIGN_OR_RETURN(const RowPlan rows, PlanRows(split, step, edge, i));
        HETERO_ASSIGN_OR_RETURN(std::unique_ptr<TransferHandle> sent,
                                edge.bridge->forward().Send(slot.output, rows, i, *stream_));
        slot.sends.push_back(std::move(sent));
        if (split == Split::kTrain && plan.edges[e].returns) {
          HETERO_ASSIGN_OR_RETURN(std::unique_ptr<BridgeReceive> receive,
                                  edge.bridge->backward().PostReceive(Inverse(rows), i, *stream_));
          edge.backward.push_back(std::move(receive));
        }
      }
      return absl::OkStatus();
    case StepKind::kReceiveBackward:
      for (int e : stage.out_edges) {
        Edge& edge = EdgeAt(e);
        HETERO_ASSIGN_OR_RETURN(const TensorView rows, edge.backward.front()->Wait(*stream_));
        edge.backward.pop_front();
        // What several consumers send back adds up.
        if (e == stage.out_edges.front()) {
          slot.d_output = rows;
        } else {
          HETERO_RETURN_IF_ERROR(Add(slot.d_output, rows, slot.d_output, *stream_));
        }
      }
      return absl::OkStatus();
    case StepKind::kBackward:
      return Backward(own, i);
    case StepKind::kSendBackward:
      for (size_t k = 0; k < stage.in_edges.size(); ++k) {
        if (!plan.edges[stage.in_edges[k]].returns) continue;
        Edge& edge = EdgeAt(stage.in_edges[k]);
        HETERO_ASSIGN_OR_RETURN(RowPlan rows, PlanRows(split, step, edge, i));
        HETERO_ASSIGN_OR_RETURN(std::unique_ptr<TransferHandle> sent,
                                edge.bridge->backward().Send(
                                    slot.d_upstream[k], Inverse(std::move(rows)), i, *stream_));
        slot.sends.push_back(std::move(sent));
      }
      return absl::OkStatus();
  }
  return absl::InternalError("unknown step");
}

absl::Status Engine::Forward(Split split, int64_t step, int own, int microbatch) {
  Runtime& runtime = runtimes_[own];
  const int s = SlotOf(own, microbatch);
  Slot& slot = runtime.slots[s];
  HETERO_RETURN_IF_ERROR(FinishSends(slot));
  slot.activations.Release(0);
  HETERO_ASSIGN_OR_RETURN(const FeedInput batch, runtime.feeds[static_cast<int>(split)]->Load(
                                                     s, step, microbatch, *stream_));
  const bool trains =
      split == Split::kTrain && options_.train.stages[own_[own].index].runs_backward;
  ModuleContext context{.stream = *stream_,
                        .activations = slot.activations,
                        .mode = trains ? Mode::kTrain : Mode::kEval};
  HETERO_ASSIGN_OR_RETURN(
      slot.output,
      own_[own].stage->Forward(
          context, s, {.tokens = batch.tokens, .images = batch.images, .upstream = slot.upstream}));
  return absl::OkStatus();
}

absl::Status Engine::Backward(int own, int microbatch) {
  const int s = SlotOf(own, microbatch);
  Slot& slot = runtimes_[own].slots[s];
  const PlanStage& stage = options_.train.stages[own_[own].index];
  slot.d_upstream.assign(slot.upstream.size(), TensorView());
  bool returns = false;
  for (size_t k = 0; k < slot.upstream.size(); ++k) {
    if (!options_.train.edges[stage.in_edges[k]].returns) continue;
    returns = true;
    HETERO_ASSIGN_OR_RETURN(slot.d_upstream[k], slot.activations.Allocate(slot.upstream[k].dtype(),
                                                                          slot.upstream[k].dims()));
  }
  ModuleContext context{
      .stream = *stream_, .activations = slot.activations, .needs_input_gradient = returns};
  return own_[own].stage->Backward(context, s, slot.d_output, slot.d_upstream);
}

absl::Status Engine::PostForwardReceive(Split split, int64_t step, Edge& edge, int microbatch) {
  HETERO_ASSIGN_OR_RETURN(const RowPlan rows, PlanRows(split, step, edge, microbatch));
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<BridgeReceive> receive,
                          edge.bridge->forward().PostReceive(rows, microbatch, *stream_));
  edge.forward.push_back(std::move(receive));
  return absl::OkStatus();
}

absl::StatusOr<RowPlan> Engine::PlanRows(Split split, int64_t step, const Edge& edge,
                                         int microbatch) {
  const StepPlan& plan = *PlanOf(split);
  HETERO_ASSIGN_OR_RETURN(
      const std::span<const int64_t> rows,
      runtimes_[0].feeds[static_cast<int>(split)]->RowsPerSample(step, microbatch));
  const PlanEdge& plan_edge = plan.edges[edge.index];
  return PlanEdgeRows(plan, *options_.layout.Find(plan.stages[plan_edge.source].module),
                      *options_.layout.Find(plan.stages[plan_edge.destination].module), rows);
}

absl::Status Engine::FinishSends(Slot& slot) {
  for (const std::unique_ptr<TransferHandle>& sent : slot.sends) {
    HETERO_RETURN_IF_ERROR(sent->Wait());
  }
  slot.sends.clear();
  return absl::OkStatus();
}

int Engine::OwnIndex(int stage) const {
  for (size_t i = 0; i < own_.size(); ++i) {
    if (own_[i].index == stage) return static_cast<int>(i);
  }
  return -1;
}

Engine::Edge& Engine::EdgeAt(int index) {
  return *std::find_if(edges_.begin(), edges_.end(),
                       [&](const Edge& edge) { return edge.index == index; });
}

int Engine::SlotOf(int own, int microbatch) const {
  return microbatch % static_cast<int>(runtimes_[own].slots.size());
}

EngineMemory Engine::PeakMemory() const {
  EngineMemory peak{.workspace_bytes = workspace_->peak_bytes()};
  for (const Runtime& runtime : runtimes_) {
    int64_t bytes = 0;
    for (const Slot& slot : runtime.slots) bytes = std::max(bytes, slot.activations.peak_bytes());
    peak.activation_bytes.push_back(bytes);
  }
  return peak;
}

MemoryLedger Engine::PredictedMemory() const {
  MemoryLedger predicted = ledger_;
  const EngineMemory peak = PeakMemory();
  predicted.Add(MemoryLabel::kWorkspace, peak.workspace_bytes);
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    predicted.Add(MemoryLabel::kActivations,
                  peak.activation_bytes[i] * static_cast<int64_t>(runtimes_[i].slots.size()));
  }
  return predicted;
}

}  // namespace hetero
