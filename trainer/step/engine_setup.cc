#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "hetero/base/status.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/row_plan.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/trainer/step/engine.h"
#include "hetero/trainer/step/shard_spec.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options) {
  auto engine = std::unique_ptr<Engine>(new Engine(std::move(options)));
  const EngineOptions& own = engine->options_;
  const bool counting = !own.memory.has_value();
  CHECK_EQ(counting, own.device.kind == DeviceKind::kShapeOnly);
  if (counting) {
    engine->workspace_ = std::make_unique<Arena>(Arena::Counting(MemoryLabel::kWorkspace));
  } else {
    HETERO_ASSIGN_OR_RETURN(Arena workspace,
                            Arena::Create(own.device, MemoryLabel::kWorkspace,
                                          own.memory->workspace_bytes, engine->ledger_));
    engine->workspace_ = std::make_unique<Arena>(std::move(workspace));
  }
  HETERO_ASSIGN_OR_RETURN(engine->stream_, Stream::Create(own.device, *engine->workspace_));
  for (const int s : own.train.StagesOf(own.layout, own.rank)) {
    HETERO_RETURN_IF_ERROR(engine->MakeStage(s)).With(own.train.stages[s].name());
  }
  HETERO_RETURN_IF_ERROR(engine->MakeEdges());
  for (const Split split : {Split::kTrain, Split::kEvaluate}) {
    for (const StepPlan* plan : engine->PlansOf(split)) {
      engine->programs_[static_cast<int>(split)].push_back(engine->MakeProgram(*plan, split));
    }
  }
  return engine;
}

absl::StatusOr<ModuleCommunicators> Engine::CommunicatorsOf(const Grid& grid,
                                                            const ParameterTable& table) {
  const auto found =
      std::ranges::find(modules_, grid.name(), &std::pair<std::string, LayerCommunicators>::first);
  if (found != modules_.end()) return found->second.by_family;
  HETERO_ASSIGN_OR_RETURN(LayerCommunicators made,
                          MakeLayerCommunicators(grid, table, options_.rank, options_.factory));
  return modules_.emplace_back(grid.name(), std::move(made)).second.by_family;
}

absl::Status Engine::MakeStage(int index) {
  const PlanStage& plan_stage = options_.train.stages[index];
  const Grid& grid = *options_.layout.Find(plan_stage.module);
  const int num_slots =
      std::max(plan_stage.num_slots,
               options_.evaluate != nullptr ? options_.evaluate->stages[index].num_slots : 1);
  OwnStage own{.index = index, .name = plan_stage.name(), .grid = &grid};
  const ShardSpec shard = ShardSpecOf(grid, options_.rank, plan_stage.place);
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                          options_.model.MakeTable(plan_stage.module, shard));
  const BucketOptions buckets =
      options_.buckets ? options_.buckets(plan_stage.module) : BucketOptions();
  HETERO_ASSIGN_OR_RETURN(
      own.parameters,
      ParameterStore::Create(table.Stage(plan_stage.place.stage), shard, options_.device, ledger_,
                             SharingOf(grid, options_.rank, buckets)));
  HETERO_RETURN_IF_ERROR(own.parameters->Initialize(options_.seed, *stream_));
  HETERO_ASSIGN_OR_RETURN(own.communicators, CommunicatorsOf(grid, table));
  HETERO_ASSIGN_OR_RETURN(own.stage, options_.model.MakeStage(plan_stage.module, plan_stage.place,
                                                              {.parameters = *own.parameters,
                                                               .communicators = own.communicators,
                                                               .device = options_.device,
                                                               .ledger = ledger_,
                                                               .num_slots = num_slots}));
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
  const size_t num_edges = options_.train.edges.size();
  edges_ = std::vector<Edge>(num_edges);
  channels_ = std::vector<Channel>(2 * num_edges);
  for (size_t e = 0; e < num_edges; ++e) {
    const PlanEdge& plan_edge = options_.train.edges[e];
    const int stage = OwnIndex(plan_edge.source) >= 0 ? plan_edge.source : plan_edge.destination;
    if (OwnIndex(stage) < 0) continue;
    const int index = static_cast<int>(e);
    BridgeOptions bridge{.edge = static_cast<int64_t>(e),
                         .dtype = plan_edge.dtype,
                         .width = plan_edge.width,
                         .num_forward_slots = 1,
                         .returns = plan_edge.returns};
    RowPlan example;
    for (Split split : {Split::kTrain, Split::kEvaluate}) {
      const StepPlan* plan = PlanOf(split);
      if (plan == nullptr) continue;
      for (auto* rows : {&edges_[e].at_source, &edges_[e].at_destination}) {
        (*rows)[static_cast<int>(split)].resize(plan->num_microbatches());
      }
      for (const StepPlan* sized : PlansOf(split)) {
        bridge.num_forward_slots = std::max<int64_t>(bridge.num_forward_slots,
                                                     sized->NumReceiveSlots(ForwardChannel(index)));
        bridge.num_backward_slots = std::max<int64_t>(
            bridge.num_backward_slots, sized->NumReceiveSlots(BackwardChannel(index)));
      }
      const BatchFeed& feed = *runtimes_[OwnIndex(stage)].feeds[static_cast<int>(split)];
      const LaneBlock lanes = plan->JoinedLanes(options_.layout, index, stage, options_.rank);
      const int64_t num_samples = plan->batch.samples_per_microbatch;
      std::vector<SampleFacts> largest;
      for (int64_t i = 0; i < lanes.NumSamples(num_samples); ++i) {
        largest.push_back(feed.LargestSample(lanes.FirstSample(num_samples) + i));
      }
      sample_rows_.clear();
      for (const SampleFacts& sample : largest) sample_rows_.push_back(RowsOf(plan_edge, sample));
      HETERO_ASSIGN_OR_RETURN(example, plan->PlanRows(lanes, index, sample_rows_));
      bridge.max_forward_rows =
          std::max(bridge.max_forward_rows, DestinationRows(example, options_.rank));
      bridge.max_backward_rows =
          std::max(bridge.max_backward_rows, SourceRows(example, options_.rank));
    }
    const Grid& source = *options_.layout.Find(options_.train.stages[plan_edge.source].module);
    const Grid& destination =
        *options_.layout.Find(options_.train.stages[plan_edge.destination].module);
    HETERO_ASSIGN_OR_RETURN(edges_[e].bridge,
                            Bridge::Create(bridge, source, destination, example, options_.rank,
                                           options_.factory, options_.device, ledger_));
  }
  return absl::OkStatus();
}

std::vector<const StepPlan*> Engine::PlansOf(Split split) const {
  std::vector<const StepPlan*> plans;
  if (split == Split::kTrain) {
    for (const StepPlan& plan : options_.smaller) plans.push_back(&plan);
  }
  if (PlanOf(split) != nullptr) plans.push_back(PlanOf(split));
  return plans;
}

Engine::Program Engine::MakeProgram(const StepPlan& plan, Split split) const {
  const RankClass& ranks = plan.ClassOf(options_.layout, options_.rank);
  Program program{.batch_size = plan.batch.global_batch_size,
                  .num_microbatches = plan.num_microbatches(),
                  .ops = split == Split::kTrain ? ranks.train : ranks.evaluate};
  for (const Op& op : program.ops) program.names.push_back(plan.OpName(op));
  return program;
}

const Engine::Program& Engine::ProgramOf(Split split, int64_t step) const {
  const std::vector<Program>& programs = programs_[static_cast<int>(split)];
  const auto found =
      std::ranges::find(programs, PlanOf(split)->batch.SizeOf(step), &Program::batch_size);
  CHECK(found != programs.end()) << "step " << step;
  return *found;
}

MemoryUse Engine::Memory() const {
  int64_t free = 0;
  int64_t always_free = 0;
  const auto add = [&](const Arena& arena) {
    free += arena.capacity_bytes() - arena.used_bytes();
    always_free += arena.capacity_bytes() - arena.peak_bytes();
  };
  add(*workspace_);
  for (const Runtime& runtime : runtimes_) {
    for (const Slot& slot : runtime.slots) add(slot.activations);
  }
  return {.taken = ledger_,
          .used_bytes = ledger_.device_bytes() - free,
          .most_used_bytes = ledger_.device_bytes() - always_free};
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
