#include "hetero/trainer/step/engine.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/row_plan.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Of an operation's span in traces.
std::string_view CategoryOf(OpKind kind) {
  switch (kind) {
    case OpKind::kLoad:
      return "load";
    case OpKind::kForward:
      return "forward";
    case OpKind::kBackward:
    case OpKind::kBackwardInput:
    case OpKind::kBackwardWeight:
      return "backward";
    case OpKind::kPostReceive:
    case OpKind::kWaitReceive:
      return "receive";
    case OpKind::kPostSend:
    case OpKind::kWaitSend:
      return "send";
    case OpKind::kReduceGradients:
    case OpKind::kGatherParameters:
    case OpKind::kFinishStep:
      return "gradients";
    case OpKind::kUpdate:
      return "optimizer";
  }
  return "";
}

}  // namespace

absl::Status Engine::RunTraining(int64_t step, absl::FunctionRef<absl::Status(const Op&)> finish) {
  ProgramTimer* const timer = options_.timer;
  if (timer != nullptr) timer->Begin();
  HETERO_RETURN_IF_ERROR(Run(Split::kTrain, step, finish));
  return timer != nullptr ? timer->End(*stream_) : absl::OkStatus();
}

absl::Status Engine::RunEvaluation(int64_t step) {
  CHECK(options_.evaluate != nullptr);
  return Run(Split::kEvaluate, step, [](const Op& op) -> absl::Status {
    return absl::InternalError(absl::StrCat("an evaluation has no ", ToString(op)));
  });
}

absl::Status Engine::Run(Split split, int64_t step,
                         absl::FunctionRef<absl::Status(const Op&)> finish) {
  const Program& program = ProgramOf(split, step);
  num_microbatches_ = program.num_microbatches;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    if (options_.stop_requested && options_.stop_requested()) {
      return absl::CancelledError("the step was not finished");
    }
    if (options_.before_operation) options_.before_operation(i);
    const Span span(options_.spans, program.names[i], CategoryOf(op.kind));
    if (options_.current != nullptr) {
      options_.current->Set(
          split == Split::kTrain ? CurrentOperation::kStep : CurrentOperation::kEvaluation, step,
          program.names[i]);
    }
    if (options_.timer != nullptr && split == Split::kTrain) {
      HETERO_RETURN_IF_ERROR(options_.timer->Enter(op, *stream_));
    }
    if (op.kind >= OpKind::kReduceGradients) {
      HETERO_RETURN_IF_ERROR(finish(op));
      continue;
    }
    const bool computes = op.kind == OpKind::kForward || GivesInputGradient(op.kind);
    StepWatch* const watch = computes ? Watch() : nullptr;
    if (watch != nullptr) watch->Before(op);
    {
      const WaitScope wait(WaitOf(split, op));
      HETERO_RETURN_IF_ERROR(Execute(split, step, op))
          .With(absl::StrCat("step ", step, " ", program.names[i]));
    }
    if (watch != nullptr) {
      const int own = OwnIndex(op.stage);
      const ConstTensorView output = op.kind == OpKind::kForward
                                         ? ConstTensorView(runtimes_[own].slots[op.slot].output)
                                         : ConstTensorView();
      HETERO_RETURN_IF_ERROR(watch->After(op, *own_[own].stage, output, *stream_));
    }
    if (!EndsBackward(op.kind) || !IsLastMicrobatch(op)) continue;
    HETERO_RETURN_IF_ERROR(Ready(op)).With(absl::StrCat("step ", step, " ", program.names[i]));
  }
  if (options_.current != nullptr) options_.current->Clear();
  return absl::OkStatus();
}

absl::Duration* Engine::WaitOf(Split split, const Op& op) const {
  StepWaits* const waits = options_.waits;
  if (waits == nullptr || split != Split::kTrain) return nullptr;
  if (op.kind == OpKind::kLoad) return &waits->data;
  if (!IsWait(op.kind)) return nullptr;
  const PlanEdge& edge = options_.train.edges[EdgeOf(op.channel)];
  waits->stages.resize(options_.train.stages.size());
  return &waits->stages[edge.source == op.stage ? edge.destination : edge.source];
}

absl::Status Engine::Execute(Split split, int64_t step, const Op& op) {
  const int own = OwnIndex(op.stage);
  Runtime& runtime = runtimes_[own];
  Slot& slot = runtime.slots[op.slot];
  switch (op.kind) {
    case OpKind::kPostReceive:
    case OpKind::kPostSend:
      return Post(split, step, op, slot);
    case OpKind::kWaitReceive:
      return Receive(op, slot);
    case OpKind::kWaitSend: {
      Channel& channel = channels_[op.channel];
      HETERO_RETURN_IF_ERROR(channel.sends.front()->Wait());
      channel.sends.pop_front();
      return absl::OkStatus();
    }
    case OpKind::kLoad: {
      HETERO_ASSIGN_OR_RETURN(slot.batch, runtime.feeds[static_cast<int>(split)]->Load(
                                              op.slot, step, op.microbatch, *stream_));
      if (split == Split::kTrain) own_[own].read_media |= slot.batch.has_media;
      return absl::OkStatus();
    }
    case OpKind::kForward:
      return Forward(split, op, own, slot);
    case OpKind::kBackward:
    case OpKind::kBackwardInput:
      return Backward(op, own, slot);
    case OpKind::kBackwardWeight:
      return slot.weight_gradients.Run(*stream_);
    default:
      return absl::InternalError(absl::StrCat("no stage does ", ToString(op)));
  }
}

absl::Status Engine::Post(Split split, int64_t step, const Op& op, Slot& slot) {
  const int edge = EdgeOf(op.channel);
  HETERO_ASSIGN_OR_RETURN(const EdgeRows* const rows, Rows(split, step, op));
  const bool forward = IsForward(op.channel);
  const RowPlan& plan = forward ? rows->forward : rows->backward;
  Bridge& bridge = *edges_[edge].bridge;
  BridgeChannel& bridge_channel = forward ? bridge.forward() : bridge.backward();
  Channel& channel = channels_[op.channel];
  if (op.kind == OpKind::kPostReceive) {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<BridgeReceive> receive,
                            bridge_channel.PostReceive(plan, op.microbatch, *stream_));
    channel.receives.push_back(std::move(receive));
    return absl::OkStatus();
  }
  const ConstTensorView sent = forward ? slot.output : slot.d_inputs[InputIndex(op.stage, edge)];
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<TransferHandle> handle,
                          bridge_channel.Send(sent, plan, op.microbatch, *stream_));
  channel.sends.push_back(std::move(handle));
  return absl::OkStatus();
}

absl::Status Engine::Receive(const Op& op, Slot& slot) {
  Channel& channel = channels_[op.channel];
  HETERO_ASSIGN_OR_RETURN(const TensorView rows, channel.receives.front()->Wait(*stream_));
  channel.receives.pop_front();
  if (IsForward(op.channel)) {
    const size_t index = InputIndex(op.stage, EdgeOf(op.channel));
    slot.inputs.resize(options_.train.stages[op.stage].in_edges.size());
    slot.inputs[index] = rows;
    return absl::OkStatus();
  }
  // What several consumers send back adds up.
  if (!slot.d_output.is_null()) return Add(slot.d_output, rows, slot.d_output, *stream_);
  slot.d_output = rows;
  return absl::OkStatus();
}

absl::Status Engine::Forward(Split split, const Op& op, int own, Slot& slot) {
  slot.activations.Release(0);
  slot.d_output = TensorView();
  const PlanStage& stage = options_.train.stages[op.stage];
  const bool trains = split == Split::kTrain && stage.runs_backward;
  ModuleContext context{
      .stream = *stream_,
      .activations = slot.activations,
      .mode = trains ? Mode::kTrain : Mode::kEval,
      .selective_recompute = trains && stage.selective_recompute && !options_.keeps_everything,
      .traffic = own_[own].traffic,
      .watch = Watch()};
  StageInput input{.tokens = slot.batch.tokens, .modalities = slot.batch.modalities};
  if (stage.place.first()) {
    input.edges = slot.inputs;
  } else {
    input.previous_stage = slot.inputs[0];
  }
  HETERO_ASSIGN_OR_RETURN(slot.output, own_[own].stage->Forward(context, op.slot, input));
  return absl::OkStatus();
}

absl::Status Engine::Backward(const Op& op, int own, Slot& slot) {
  const PlanStage& stage = options_.train.stages[op.stage];
  slot.d_inputs.assign(slot.inputs.size(), TensorView());
  bool returns = false;
  for (size_t k = 0; k < slot.inputs.size(); ++k) {
    if (!options_.train.edges[stage.in_edges[k]].returns) continue;
    returns = true;
    HETERO_ASSIGN_OR_RETURN(
        slot.d_inputs[k], slot.activations.Allocate(slot.inputs[k].dtype(), slot.inputs[k].dims()));
  }
  ModuleContext context{
      .stream = *stream_,
      .activations = slot.activations,
      .needs_input_gradient = returns,
      .weight_gradients = op.kind == OpKind::kBackwardInput ? &slot.weight_gradients : nullptr,
      .traffic = IsLastMicrobatch(op) ? own_[own].traffic : nullptr,
      .watch = Watch()};
  StageInputGradients d_input;
  if (stage.place.first()) {
    d_input.edges = slot.d_inputs;
  } else {
    d_input.previous_stage = slot.d_inputs[0];
  }
  return own_[own].stage->Backward(context, op.slot, slot.d_output, d_input);
}

// Buckets that no layer of the last backward completed: on every rank of the stage at the same
// place, whatever its samples hold, so that no two wait for each other.
absl::Status Engine::Ready(const Op& op) {
  ParameterTraffic* const traffic = own_[OwnIndex(op.stage)].traffic;
  return traffic == nullptr ? absl::OkStatus() : traffic->Ready(0);
}

SampleRows Engine::RowsOf(const PlanEdge& edge, const SampleFacts& sample) const {
  const Model& model = options_.model;
  if (edge.graph_edge < 0) {
    return {.num_rows = model.RowsBetweenStages(options_.train.stages[edge.source].module, sample)};
  }
  const int modality = model.graph().edges[edge.graph_edge].modality;
  return {.num_rows = model.RowsOnEdge(edge.graph_edge, sample),
          .num_tokens = sample.row_length,
          .runs = sample.modalities[modality].runs};
}

absl::StatusOr<const Engine::EdgeRows*> Engine::Rows(Split split, int64_t step, const Op& op) {
  const StepPlan& plan = *PlanOf(split);
  const int index = EdgeOf(op.channel);
  const PlanEdge& plan_edge = plan.edges[index];
  Edge& edge = edges_[index];
  const int s = static_cast<int>(split);
  EdgeRows& rows =
      (op.stage == plan_edge.source ? edge.at_source : edge.at_destination)[s][op.microbatch];
  if (rows.step == step) return &rows;
  const LaneBlock block = plan.BlockOf(options_.layout, index, op.stage, options_.rank);
  const int64_t num_samples = plan.batch.samples_per_microbatch;
  BatchFeed& feed = *runtimes_[OwnIndex(op.stage)].feeds[s];
  const MicrobatchShares* shares = nullptr;
  if (plan.Balances(index)) {
    HETERO_ASSIGN_OR_RETURN(shares, feed.Shares(step, op.microbatch));
  }
  sample_rows_.clear();
  if (shares != nullptr && plan_edge.graph_edge < 0) {
    const Grid& grid = *block.source.grid;
    const int modality = options_.model.graph().Module(grid.name()).modalities[0];
    const int64_t lane = grid.LaneOf(options_.rank).value();
    sample_rows_.push_back(RowsOf(plan_edge, shares->OfLane(lane, modality)));
  } else {
    HETERO_ASSIGN_OR_RETURN(
        const std::span<const SampleFacts> facts,
        feed.Facts(step, op.microbatch,
                   {block.FirstSample(num_samples), block.NumSamples(num_samples)}));
    for (const SampleFacts& sample : facts) sample_rows_.push_back(RowsOf(plan_edge, sample));
    for (size_t i = 0; shares != nullptr && i < sample_rows_.size(); ++i) {
      sample_rows_[i].parts = shares->media[i];
    }
  }
  HETERO_ASSIGN_OR_RETURN(rows.forward, plan.PlanRows(block, index, sample_rows_));
  rows.backward = Inverse(rows.forward);
  rows.step = step;
  return &rows;
}

absl::StatusOr<std::vector<int64_t>> Engine::BadSamples(Split split, int64_t step) {
  std::set<int64_t> bad;
  for (size_t i = 0; i < runtimes_.size(); ++i) {
    const absl::StatusOr<std::vector<int64_t>> of_stage =
        runtimes_[i].feeds[static_cast<int>(split)]->BadSamples(step);
    HETERO_RETURN_IF_ERROR(of_stage.status())
        .With(absl::StrCat("samples of step ", step + 1, " for ", own_[i].name));
    bad.insert(of_stage->begin(), of_stage->end());
  }
  return std::vector<int64_t>(bad.begin(), bad.end());
}

void Engine::ReadAnew(Split split) {
  const int s = static_cast<int>(split);
  for (Runtime& runtime : runtimes_) runtime.feeds[s]->ReadAnew();
  for (Edge& edge : edges_) {
    for (EdgeRows& rows : edge.at_source[s]) rows.step = -1;
    for (EdgeRows& rows : edge.at_destination[s]) rows.step = -1;
  }
}

size_t Engine::InputIndex(int stage, int edge) const {
  const std::vector<int>& edges = options_.train.stages[stage].in_edges;
  return static_cast<size_t>(std::ranges::find(edges, edge) - edges.begin());
}

int Engine::OwnIndex(int stage) const {
  const auto found = std::ranges::find(own_, stage, &OwnStage::index);
  return found == own_.end() ? -1 : static_cast<int>(found - own_.begin());
}

}  // namespace hetero
