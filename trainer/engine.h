#ifndef HETERO_TRAINER_ENGINE_H_
#define HETERO_TRAINER_ENGINE_H_

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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/bridge/bridge.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_store.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/feed.h"
#include "hetero/trainer/plan.h"

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
  const StepPlan& train;
  const StepPlan* evaluate = nullptr;  // of another batch shape; null: no evaluation
  GlobalRank rank;
  Device device;
  int64_t seed = 0;
  CommunicatorFactory& factory;
  // Makes the feed of one of this rank's stages; its buffers count in the ledger.
  std::function<absl::StatusOr<BatchFeed>(const StepPlan&, int stage, Split, Device, MemoryLedger&)>
      make_feed;
  std::optional<EngineMemory> memory;  // unset: arenas without end that only count
  SpanBuffer* spans = nullptr;         // of this rank; null: no time is recorded
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
    std::unique_ptr<ParameterStore> parameters;
    std::unique_ptr<Stage> stage;
    std::unique_ptr<Communicator> data_parallel;         // dense gradients; null for one rank
    std::unique_ptr<Communicator> expert_data_parallel;  // null for one rank
  };

  static absl::StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options);

  // Forward and backward of all microbatches of `step`; gradients are then complete on this rank
  // and not yet summed over its lanes.
  absl::Status RunTraining(int64_t step);

  // Forward of evaluation step `step`. Precondition: options.evaluate.
  absl::Status RunEvaluation(int64_t step);

  std::span<OwnStage> stages() { return own_; }
  Stream& stream() { return *stream_; }
  MemoryLedger& ledger() { return ledger_; }
  SpanBuffer* spans() { return options_.spans; }
  const MemoryLedger& ledger() const { return ledger_; }

  // What the arenas took at most so far.
  EngineMemory PeakMemory() const;

  // The labels of arenas on the shape-only device count here, as the real run will allocate them.
  MemoryLedger PredictedMemory() const;

 private:
  // A slot of a stage: one microbatch in flight.
  struct Slot {
    Arena activations;
    TensorView output;
    TensorView d_output;
    std::vector<ConstTensorView> upstream;
    std::vector<TensorView> d_upstream;
    std::vector<std::unique_ptr<TransferHandle>> sends;  // of views in `activations`
  };

  // What a stage needs to run, beside OwnStage.
  struct Runtime {
    std::vector<Slot> slots;
    std::optional<BatchFeed> feeds[2];  // by Split
  };

  // An edge this rank sits on.
  struct Edge {
    int index = 0;  // in StepPlan::edges
    std::unique_ptr<Bridge> bridge;
    std::deque<std::unique_ptr<BridgeReceive>> forward;  // posted, by microbatch
    std::deque<std::unique_ptr<BridgeReceive>> backward;
  };

  explicit Engine(EngineOptions options) : options_(std::move(options)) {}

  absl::Status MakeStage(int index);
  absl::Status MakeEdges();
  // Null for an evaluation that the run does not have.
  const StepPlan* PlanOf(Split split) const {
    return split == Split::kTrain ? &options_.train : options_.evaluate;
  }
  absl::Status Run(Split split, int64_t step);
  absl::Status Execute(Split split, int64_t step, const RankStep& rank_step);
  absl::Status Forward(Split split, int64_t step, int own, int microbatch);
  absl::Status Backward(int own, int microbatch);
  absl::Status PostForwardReceive(Split split, int64_t step, Edge& edge, int microbatch);
  absl::StatusOr<RowPlan> PlanRows(Split split, int64_t step, const Edge& edge, int microbatch);
  absl::Status FinishSends(Slot& slot);
  int OwnIndex(int stage) const;
  Edge& EdgeAt(int index);
  int SlotOf(int own, int microbatch) const;

  EngineOptions options_;
  MemoryLedger ledger_;
  std::unique_ptr<Arena> workspace_;
  std::unique_ptr<Stream> stream_;
  std::vector<OwnStage> own_;
  std::vector<Edge> edges_;
  std::vector<Runtime> runtimes_;      // parallel to own_; after edges_, whose sends they hold
  std::vector<RankStep> programs_[2];  // by Split
};

}  // namespace hetero

#endif  // HETERO_TRAINER_ENGINE_H_
