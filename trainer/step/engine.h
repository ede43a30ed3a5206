#ifndef HETERO_TRAINER_STEP_ENGINE_H_
#define HETERO_TRAINER_STEP_ENGINE_H_

// One rank's part of the run: its stages with their parameters and memory, the edges it sits on,
// and the walk through its program. On the shape-only device the same code runs without data: what
// it then allocates, calls and counts is the prediction of the real run.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/bridge/bridge.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/layout.h"
#include "hetero/models/blocks/weight_gradient_queue.h"
#include "hetero/models/stage.h"
#include "hetero/params/bucket_options.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/parameter_traffic.h"
#include "hetero/params/table.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/step/communicators.h"
#include "hetero/trainer/step/current_operation.h"
#include "hetero/trainer/step/memory_use.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/program_timer.h"
#include "hetero/trainer/step/step_waits.h"
#include "hetero/trainer/step/step_watch.h"

namespace hetero {

enum class Split : uint8_t { kTrain, kEvaluate };

// Capacities of the arenas of a rank, from a run on the shape-only device.
struct EngineMemory {
  std::vector<int64_t> activation_bytes;  // of each slot, by own stage
  int64_t workspace_bytes = 0;
};

struct EngineOptions {
  const Layout& layout;
  const Model& model;
  const StepPlan& train;  // of the largest steps
  // Of those before, where steps grow: of the same stages, which need no more slots.
  std::span<const StepPlan> smaller = {};
  const StepPlan* evaluate = nullptr;  // of another batch shape; null: no evaluation
  GlobalRank rank;
  Device device;
  int64_t seed = 0;
  CommunicatorFactory& factory;
  // Makes the feed of one of this rank's stages; its buffers count in the ledger.
  std::function<absl::StatusOr<BatchFeed>(const StepPlan&, int stage, Split, Device, MemoryLedger&)>
      make_feed;
  // Of a module's gradients; unset: as BucketOptions without numbers.
  std::function<BucketOptions(std::string_view module)> buckets = {};
  std::optional<EngineMemory> memory;   // unset: arenas without end that only count
  SpanBuffer* spans = nullptr;          // of this rank; null: no time is recorded
  CurrentOperation* current = nullptr;  // told of every operation; null: nobody is
  bool keeps_everything = false;        // whatever PlanStage::selective_recompute says
  // Called before every operation with its place in its program; may be empty.
  std::function<void(size_t place)> before_operation = {};
  StepWatch* watch = nullptr;     // null: nobody looks
  StepWaits* waits = nullptr;     // of training steps on the CPU; null: nobody counts them
  ProgramTimer* timer = nullptr;  // of training steps; null: nobody times them
  // Asked before every operation; true ends the step with CANCELLED. For a rank without peers.
  std::function<bool()> stop_requested = {};
};

// One thread, the rank's, uses an engine. What the options refer to outlives it.
class Engine {
 public:
  // One of the modules this rank has a stage of.
  struct OwnStage {
    int index = 0;     // in StepPlan::stages
    std::string name;  // "radio_encoder.0"
    const Grid* grid = nullptr;
    ModuleCommunicators communicators;  // of the module
    std::unique_ptr<ParameterStore> parameters;
    std::unique_ptr<Stage> stage;
    ParameterTraffic* traffic = nullptr;  // told of the stage's layers; null: nobody asks
    // Since it was set to false, samples of the lane had images, clips or the like in training.
    bool read_media = false;
  };

  static absl::StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options);

  // Walks the training program of `step`. What is not a stage's or an edge's work, kReduceGradients
  // and all after it, is `finish`'s.
  absl::Status RunTraining(int64_t step, absl::FunctionRef<absl::Status(const Op&)> finish);

  // Walks the evaluation program of step `step`. Precondition: options.evaluate.
  absl::Status RunEvaluation(int64_t step);

  // Numbers of samples of step `step` that a stage here cannot read, ascending, each once, and what
  // becomes of microbatches made ahead when such samples are passed over. Errors: those of
  // BatchFeed::BadSamples, with the stage.
  absl::StatusOr<std::vector<int64_t>> BadSamples(Split split, int64_t step);
  void ReadAnew(Split split);

  std::span<OwnStage> stages() { return own_; }
  // Place in stages() of a stage of the plan; -1 where another rank holds it.
  int OwnIndex(int stage) const;
  Stream& stream() { return *stream_; }
  MemoryLedger& ledger() { return ledger_; }
  SpanBuffer* spans() { return options_.spans; }
  const MemoryLedger& ledger() const { return ledger_; }

  MemoryUse Memory() const;

  // What the arenas took at most so far.
  EngineMemory PeakMemory() const;

  // The labels of arenas on the shape-only device count here, as the real run will allocate them.
  MemoryLedger PredictedMemory() const;

 private:
  // A slot of a stage: one microbatch in flight.
  struct Slot {
    Arena activations;
    FeedInput batch;
    TensorView output;
    TensorView d_output;                  // null until a gradient has arrived
    std::vector<ConstTensorView> inputs;  // by PlanStage::in_edges
    std::vector<TensorView> d_inputs;
    WeightGradientQueue weight_gradients;  // what kBackwardInput left
  };

  // What a stage needs to run, beside OwnStage.
  struct Runtime {
    std::vector<Slot> slots;
    std::optional<BatchFeed> feeds[2];  // by Split
  };

  // Rows of a microbatch on an edge, both ways.
  struct EdgeRows {
    int64_t step = -1;
    RowPlan forward;
    RowPlan backward;
  };

  // An edge this rank sits on. A rank with both ends may share samples with other lanes at each.
  struct Edge {
    std::unique_ptr<Bridge> bridge;
    std::vector<EdgeRows> at_source[2];  // by Split and microbatch
    std::vector<EdgeRows> at_destination[2];
  };

  // What is under way on a channel, in the order of posting.
  struct Channel {
    std::deque<std::unique_ptr<BridgeReceive>> receives;
    std::deque<std::unique_ptr<TransferHandle>> sends;  // of views in activations
  };

  struct Program {
    int64_t batch_size = 0;
    int num_microbatches = 0;
    std::span<const Op> ops;
    std::vector<std::string> names;  // "radio_encoder.0 F3", in errors and traces
  };

  explicit Engine(EngineOptions options) : options_(std::move(options)) {}

  // Of the module of `grid`, made with its first stage here.
  absl::StatusOr<ModuleCommunicators> CommunicatorsOf(const Grid& grid,
                                                      const ParameterTable& table);
  absl::Status MakeStage(int index);
  absl::Status MakeEdges();
  Program MakeProgram(const StepPlan& plan, Split split) const;
  const Program& ProgramOf(Split split, int64_t step) const;
  // The largest; null for an evaluation that the run does not have.
  const StepPlan* PlanOf(Split split) const {
    return split == Split::kTrain ? &options_.train : options_.evaluate;
  }
  // All, the largest last.
  std::vector<const StepPlan*> PlansOf(Split split) const;
  absl::Status Run(Split split, int64_t step, absl::FunctionRef<absl::Status(const Op&)> finish);
  // Whom layers of the step in work tell what they compute.
  StepWatch* Watch() const {
    return options_.watch != nullptr && options_.watch->Looks() ? options_.watch : nullptr;
  }
  // Where the time is counted in which `op` waits; null: nowhere.
  absl::Duration* WaitOf(Split split, const Op& op) const;
  absl::Status Execute(Split split, int64_t step, const Op& op);
  absl::Status Post(Split split, int64_t step, const Op& op, Slot& slot);
  absl::Status Receive(const Op& op, Slot& slot);
  absl::Status Forward(Split split, const Op& op, int own, Slot& slot);
  absl::Status Backward(const Op& op, int own, Slot& slot);
  absl::Status Ready(const Op& op);
  bool IsLastMicrobatch(const Op& op) const { return op.microbatch + 1 == num_microbatches_; }
  // What a sample sends over an edge.
  SampleRows RowsOf(const PlanEdge& edge, const SampleFacts& sample) const;
  // Of the microbatch and the edge of `op`, a transfer, between the lanes of its stage's block.
  absl::StatusOr<const EdgeRows*> Rows(Split split, int64_t step, const Op& op);
  // Place of an edge among a stage's incoming ones.
  size_t InputIndex(int stage, int edge) const;

  EngineOptions options_;
  MemoryLedger ledger_;
  std::unique_ptr<Arena> workspace_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::pair<std::string, LayerCommunicators>> modules_;  // by name
  std::vector<OwnStage> own_;
  std::vector<Edge> edges_;        // by StepPlan::edges; no bridge where this rank takes no part
  std::vector<Runtime> runtimes_;  // parallel to own_
  std::vector<Channel> channels_;  // after edges_ and runtimes_, whose memory they use
  std::vector<SampleRows> sample_rows_;
  std::vector<Program> programs_[2];  // by Split, the largest last
  int num_microbatches_ = 0;          // of the step in work
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_ENGINE_H_
