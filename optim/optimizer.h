#ifndef HETERO_OPTIM_OPTIMIZER_H_
#define HETERO_OPTIM_OPTIMIZER_H_

// The optimizer step of a run: all modules, all ranks, one decision. One reduction of a small
// vector over the world carries the squares of every module's gradients, the number of non-finite
// gradients, the loss weights and whatever sums the caller adds; norm, clipping, the mean over
// tokens and whether to skip follow from it alike on every rank, on the device. The host reads the
// same numbers when they are there: a rank that queues the next step before it asks for the report
// of the last never leaves its device without work.

#include <cstdint>
#include <deque>
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

struct StepReport {
  StepOutcome outcome = StepOutcome::kApplied;
  double learning_rate = 0;
  // Of the token mean, before clipping: over all modules, and of each in their order. NaN where a
  // gradient is infinite or NaN.
  double gradient_norm = 0;
  std::vector<double> module_norms;
  double clip_factor = 1;
  double tokens = 0;  // the sum of their loss weights
  int64_t non_finite_gradients = 0;
  std::vector<double> sums;  // of the caller's addends
};

struct StepInputs {
  int64_t samples = 0;  // of the whole run in this step
  // f64 on the device, summed over the world.
  ConstTensorView tokens;        // [1]: the loss weights that this rank has; each is on one rank
  ConstTensorView faults = {};   // [1]: above 0 on any rank, the step is not applied; null: none
  ConstTensorView addends = {};  // as many on every rank
};

class Optimizer {
 public:
  // modules: names of all modules of the run, in one order everywhere. local: those on this rank.
  // control: joins all ranks of the run, null when there is one. clip_gradient_norm: 0 does not
  // clip. Everything passed by pointer outlives the optimizer.
  // Errors: INVALID_ARGUMENT for a local module that is not in `modules`, a negative clip norm.
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(
      const LearningRateSchedule& schedule, double clip_gradient_norm,
      std::vector<std::string> modules, std::vector<ModuleOptimizer*> local, Communicator* control,
      int64_t num_addends, Device device, MemoryLedger& ledger);

  // Queues the update of the parameters from summed, not yet normalised gradients: each is
  // multiplied by clip_factor / tokens inside the update. Learning rate, Adam's t and the consumed
  // samples advance only when a step is applied, so the call waits until the device has decided the
  // step before. Called by every rank after its gradients are complete.
  // Errors: INVALID_ARGUMENT for other addends; those of Communicator::AllReduce; what the device
  // ran into.
  absl::Status Queue(const StepInputs& inputs, Stream& stream);

  // What became of the oldest queued step that was not asked for, once the device has decided it; a
  // default one on the shape-only device. Precondition: there is such a step.
  absl::StatusOr<StepReport> Report();

  // Of DecideUpdate for the step that was queued last, where its update reads them: what follows on
  // the stream may too, until the next step is queued.
  ConstTensorView decisions() const { return decisions_; }

  // Both, for those who have nothing to queue in between.
  absl::StatusOr<StepReport> Step(const StepInputs& inputs, Stream& stream);

  // After the steps that were reported, or decided before a later one was queued.
  const OptimizerProgress& progress() const { return progress_; }
  std::span<ModuleOptimizer* const> local() const { return local_; }

 private:
  Optimizer(const LearningRateSchedule& schedule, double clip_gradient_norm,
            std::vector<std::string> modules, std::vector<ModuleOptimizer*> local,
            Communicator* control, int64_t num_addends)
      : schedule_(schedule),
        clip_gradient_norm_(clip_gradient_norm),
        modules_(std::move(modules)),
        local_(std::move(local)),
        control_(control),
        num_addends_(num_addends) {}

  // A step whose outcome the host does not know yet.
  struct Pending {
    int64_t samples = 0;
    double learning_rate = 0;
  };

  int64_t num_modules() const { return static_cast<int64_t>(modules_.size()); }
  absl::Status Settle();
  StepReport Read(const Pending& step) const;
  void Advance(StepOutcome outcome, int64_t samples);

  LearningRateSchedule schedule_;
  double clip_gradient_norm_;
  std::vector<std::string> modules_;
  std::vector<ModuleOptimizer*> local_;
  std::vector<int64_t> local_index_;  // of local_ in modules_
  Communicator* control_;
  int64_t num_addends_;
  OptimizerProgress progress_;
  Buffer buffer_;
  TensorView all_;        // f64: the two below
  TensorView totals_;     // {squares, non-finite} per module, tokens, faults, addends
  TensorView decisions_;  // of DecideUpdate
  PinnedBuffer staging_;  // for all_
  Event read_;            // all_ is in staging_
  std::optional<Pending> pending_;
  std::deque<StepReport> reports_;  // of steps before the pending one
};

}  // namespace hetero

#endif  // HETERO_OPTIM_OPTIMIZER_H_
