#ifndef HETERO_TRAINER_STEP_RANK_TRAINER_H_
#define HETERO_TRAINER_STEP_RANK_TRAINER_H_

// Training steps of one rank: the engine's forward and backward, the gradient sums of its modules,
// the optimizer's step with the rest of the world. Created twice: on the shape-only device to find
// what a step needs, then on the real one with just that.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/data/sample_order.h"
#include "hetero/optim/bucket_traffic.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/module_options.h"
#include "hetero/optim/optimizer.h"
#include "hetero/optim/weight_decay.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/trainer/step/communicators.h"
#include "hetero/trainer/step/engine.h"
#include "hetero/trainer/step/parameter_norm.h"

namespace hetero {

struct OptimizerSettings {
  absl::flat_hash_map<std::string, ModuleOptimizerOptions> modules;  // all of the run, by name
  double clip_gradient_norm = 0;                                     // 0: none
  LearningRateSchedule schedule;
  WeightDecaySchedule weight_decay;  // of modules without one of their own
  // An encoder's gradient counts as if all its data-parallel ranks had had input.
  bool correct_partial_participation = false;
  bool parameters_norm = false;  // whether QueueNorm may be called
};

// What all ranks know after a step.
struct StepResult {
  StepReport report;                                 // whose sums are the model's totals
  double minimized = 0;                              // the numerator of the graph's first metric
  std::optional<double> params_norm = std::nullopt;  // where QueueNorm followed the step
};

struct EvaluationResult {
  std::vector<double> sums;  // the model's totals
};

// What a rank tells the others between two steps.
struct Wishes {
  bool stop = false;  // the run ends
  bool save = false;  // a checkpoint is due
  bool busy = false;  // writes or reads back its part of a checkpoint
};

class RankTrainer {
 public:
  static absl::StatusOr<std::unique_ptr<RankTrainer>> Create(EngineOptions options,
                                                             const OptimizerSettings& settings);

  // What any rank of the world wants, as every rank calls it. The hosts wait for each other here,
  // and for no device.
  absl::StatusOr<Wishes> AnyOf(const Wishes& own);

  // Makes each of `values` what `op` makes of all ranks'. Every rank calls it, with as many; the
  // hosts wait for each other, for no device. `what`: of the call, in errors.
  absl::Status Combine(std::span<double> values, ReduceOp op, std::string_view what);

  // Queues one step of the run; every rank calls it. Waits for no work of this step: for the
  // outcome of the one before, as Optimizer::Queue, and where the feed is too far ahead.
  absl::Status Queue(int64_t step);

  // Adds the norm of all parameters after the step queued last to its result. Every rank calls it.
  // Precondition: the settings want it, here and below.
  absl::Status QueueNorm();

  // Counts the parameters that no step changes, once they are loaded. Waits for the device.
  absl::Status CountConstants();

  // Of the oldest queued step that was not asked for, once the device has finished it. Empty on the
  // shape-only device. Precondition: there is such a step.
  // Errors: INVALID_ARGUMENT where a GPU met ids outside the vocabulary.
  absl::StatusOr<StepResult> Result();

  // Evaluation steps [0, num_steps), summed over the world. Waits for the device. Nothing when
  // `stop_requested` says on any rank that an end is wanted: each step begins with AnyOf.
  absl::StatusOr<std::optional<EvaluationResult>> Evaluate(
      int64_t num_steps, absl::FunctionRef<bool()> stop_requested);

  // Weights, masters and moments change between a call of `before` and the end of the step alone.
  void CallBeforeUpdates(std::function<void()> before) { before_update_ = std::move(before); }

  // Called on every rank, before the step of training or evaluation that has them, with samples
  // that some rank cannot read, ascending; they are in quarantine when it returns. Unset: all can
  // be read.
  void CallOnBadSamples(
      std::function<absl::Status(Split split, std::span<const int64_t> samples)> function) {
    on_bad_samples_ = std::move(function);
  }

  // What comes on the engine's stream finds the weights as the last update left them.
  absl::Status AwaitWeights();

  Engine& engine() { return *engine_; }
  // Parallel to engine().stages().
  std::span<const std::unique_ptr<ModuleOptimizer>> module_optimizers() const {
    return module_optimizers_;
  }
  // Where gradients are summed and parameters fetched.
  SideStream& traffic_side() { return *side_; }
  Optimizer& optimizer() { return *optimizer_; }
  const LearningRateSchedule& schedule() const { return schedule_; }

 private:
  explicit RankTrainer(const LearningRateSchedule& schedule) : schedule_(schedule) {}

  absl::Status MakeOptimizers(const EngineOptions& options, const OptimizerSettings& settings);

  // Finds what no rank may read of `step`, before it begins. The hosts wait for each other.
  absl::Status PassOverBadSamples(Split split, int64_t step);
  // What a step does beside the work of stages and edges.
  absl::Status Finish(const Op& op);
  absl::Status Update();
  std::span<const double> Participants();

  // Overwrites `totals` with those of this rank's stages.
  absl::Status TakeTotals(const TensorView& totals);

  LearningRateSchedule schedule_;
  data::BatchLayout batch_;
  int64_t step_ = 0;  // in work
  int num_totals_ = kNumStageTotals;
  int minimized_ = kStageLossSum;
  bool corrects_ = false;  // gradients of modules that not all ranks took part in
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Communicator> control_;                // null for a world of one
  std::unique_ptr<SideStream> side_;                     // of traffic_
  std::vector<GradientCommunicators> gradients_;         // by own stage
  std::vector<std::unique_ptr<BucketTraffic>> traffic_;  // by own stage
  std::vector<bool> counts_input_;    // by own stage: one rank of those that share its microbatches
  std::vector<double> participants_;  // by own stage, in this step
  std::vector<std::unique_ptr<ModuleOptimizer>> module_optimizers_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<ParameterNorm::Holding> holdings_;  // by own stage
  std::unique_ptr<ParameterNorm> norm_;           // null: nobody wants it
  std::deque<bool> tell_norm_;                    // of the steps not asked for
  std::function<void()> before_update_;
  std::function<absl::Status(Split, std::span<const int64_t>)> on_bad_samples_;
  Buffer totals_;
  Arena no_workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  Stream host_stream_{Device{}, no_workspace_};  // of what hosts tell each other
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_RANK_TRAINER_H_
