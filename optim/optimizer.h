#ifndef HETERO_OPTIM_OPTIMIZER_H_
#define HETERO_OPTIM_OPTIMIZER_H_

// The optimizer step of a run: all modules, all ranks, one decision. One reduction of a small
// vector over the world carries the squares and zeros of every module's gradients, the elements of
// every parameter that are not finite, who took part, the loss weights and whatever sums the caller
// adds; norm, clipping, the mean over tokens and whether to skip follow from it alike on every
// rank, on the device. The host reads the same numbers when they are there: a rank that queues the
// next step before it asks for the report of the last never leaves its device without work.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/parameter_group.h"
#include "hetero/optim/weight_decay.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// What the optimizer knows of the past; equal on all ranks, saved with the moments.
struct OptimizerProgress {
  int64_t applied_steps = 0;     // the t of Adam's bias correction
  int64_t consumed_samples = 0;  // of applied steps: the argument of the learning rate
  int64_t skipped_non_finite = 0;
  int64_t skipped_no_tokens = 0;
  int64_t skipped_faulty = 0;

  bool operator==(const OptimizerProgress&) const = default;
};

enum class StepOutcome : uint8_t {
  kApplied,
  kNonFinite,  // a gradient was infinite or NaN: no rank updates
  kNoTokens,   // no token of the step had a loss: no rank updates
  kFaulty,     // what the gradients come from was not valid: no rank updates
};

// A module of the run, whether this rank has it or not; equal on all ranks.
struct OptimizedModule {
  std::string name;
  std::vector<std::string> parameters;      // the trained ones of all its stages
  std::vector<ParameterGroup> groups = {};  // of these
  double clip_share = 0;                    // of ModuleOptimizerOptions
  // Above 0: its gradients are scaled by this number over the ranks that took part in the step,
  // where some did and some did not.
  int64_t corrected_ranks = 0;
};

struct StepReport {
  StepOutcome outcome = StepOutcome::kApplied;
  double learning_rate = 0;
  // Of the token mean, before clipping: over all modules, and of each in their order. NaN where a
  // gradient is infinite or NaN.
  double gradient_norm = 0;
  std::vector<double> module_norms;
  double clip_factor = 1;  // the smallest of all modules
  double tokens = 0;       // the sum of their loss weights
  int64_t zero_gradients = 0;
  int64_t non_finite_gradients = 0;
  std::string non_finite_parameter;  // the first, with its module: "language decoder.final_norm"
  std::vector<double> sums;          // of the caller's addends
};

struct StepInputs {
  int64_t samples = 0;  // of the whole run in this step
  // Of each local module, 1 if this rank is to be counted as one that took part, else 0; empty
  // where nothing is corrected. Of ranks that share a microbatch one is counted.
  std::span<const double> participants = {};
  // f64 on the device, summed over the world.
  ConstTensorView tokens;        // [1]: the loss weights that this rank has; each is on one rank
  ConstTensorView faults = {};   // [1]: above 0 on any rank, the step is not applied; null: none
  ConstTensorView addends = {};  // as many on every rank
};

struct OptimizerOptions {
  LearningRateSchedule learning_rate;
  std::optional<WeightDecaySchedule> weight_decay = std::nullopt;  // of modules that follow it
  double clip_gradient_norm = 0;                                   // 0 does not clip
  std::vector<OptimizedModule> modules;  // all of the run, in one order everywhere
  int64_t num_addends = 0;
};

class Optimizer {
 public:
  // local: the modules of this rank, one of each stage that it has. control: joins all ranks of the
  // run, null when there is one. stream: of all work of the optimizer. Everything passed by pointer
  // or reference outlives the optimizer.
  // Errors: INVALID_ARGUMENT for a local module or parameter that is not among those of the
  // options, a negative clip norm.
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(OptimizerOptions options,
                                                           std::vector<ModuleOptimizer*> local,
                                                           Communicator* control, Stream& stream,
                                                           MemoryLedger& ledger);

  // Queues the update of what this rank owns of the parameters, from sums of gradients that are not
  // yet normalised: each is multiplied by the module's scale inside the update. Learning rate,
  // Adam's t and the consumed samples advance only when a step is applied, so the call waits until
  // the device has decided the step before. Called by every rank after its gradients are complete.
  // Errors: INVALID_ARGUMENT for other addends or participants; those of Communicator::AllReduce;
  // what the device ran into.
  absl::Status Queue(const StepInputs& inputs);

  // What became of the oldest queued step that was not asked for, once the device has decided it; a
  // default one on the shape-only device. Precondition: there is such a step.
  absl::StatusOr<StepReport> Report();

  // Of DecideUpdate for local module `i` and the step that was queued last, where its update reads
  // them: what follows on the stream may too, until the next step is queued.
  ConstTensorView decisions(size_t i) const { return device_.decisions_MD.At(local_index_[i]); }

  // Both, for those who have nothing to queue in between.
  absl::StatusOr<StepReport> Step(const StepInputs& inputs);

  // After the steps that were reported, or decided before a later one was queued.
  const OptimizerProgress& progress() const { return progress_; }

  // Goes on from there, the same on all ranks. Precondition: no step has been queued.
  void Continue(const OptimizerProgress& progress) { progress_ = progress; }

  // The groups of local module `i` in all its stages, alike on all its ranks, after the steps of
  // progress().
  std::vector<GroupSettings> Groups(size_t i) const;

  std::span<ModuleOptimizer* const> local() const { return local_; }

 private:
  Optimizer(OptimizerOptions options, std::vector<ModuleOptimizer*> local, Communicator* control,
            Stream& stream)
      : options_(std::move(options)),
        local_(std::move(local)),
        control_(control),
        stream_(stream) {}

  // A step whose outcome the host does not know yet.
  struct Pending {
    int64_t samples = 0;
    double learning_rate = 0;
  };

  // The parts of one f64 buffer, on the device and on the host.
  struct Numbers {
    TensorView all;
    TensorView totals;         // what is summed over the world: the next five
    TensorView statistics_MS;  // by ModuleStatistic
    TensorView non_finite_P;   // by parameter, module after module
    TensorView tokens_1;
    TensorView faults_1;
    TensorView addends;
    TensorView decisions_MD;
    TensorView rules_M2;
  };
  Numbers Divide(const TensorView& all) const;
  int64_t num_modules() const { return std::ssize(options_.modules); }
  // By the schedules, for the update that comes next.
  AdamWUpdate NextUpdate() const;

  absl::Status Allocate(MemoryLedger& ledger);
  absl::Status WriteRules();
  absl::Status AddOwnTotals(const StepInputs& inputs);
  absl::Status Settle();
  StepReport Read(const Pending& step) const;
  void ReadNonFinite(std::span<const double> non_finite, StepReport& report) const;
  void Advance(StepOutcome outcome, int64_t samples);

  OptimizerOptions options_;
  std::vector<ModuleOptimizer*> local_;
  std::vector<int64_t> local_index_;      // of local_ in the run's modules
  std::vector<int64_t> first_parameter_;  // of each module, and the number of all
  Communicator* control_;
  Stream& stream_;
  OptimizerProgress progress_;
  Buffer buffer_;
  Numbers device_;
  PinnedBuffer staging_;  // as large
  Event read_;            // `device_` is in staging_
  std::optional<Pending> pending_;
  std::deque<StepReport> reports_;  // of steps before the pending one
};

}  // namespace hetero

#endif  // HETERO_OPTIM_OPTIMIZER_H_
