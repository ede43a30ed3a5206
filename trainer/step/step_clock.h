#ifndef HETERO_TRAINER_STEP_STEP_CLOCK_H_
#define HETERO_TRAINER_STEP_STEP_CLOCK_H_

// The time of training steps on their device, as the device measures it: a host that is a step
// ahead of a GPU cannot. In sampled steps it also times every operation.

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/operation_timer.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Steps begin and end in order; when one begins, at most one that ended has not been asked for.
class StepClock {
 public:
  // A sampled step has two events more an operation and takes up to three times as long where
  // kernels take a few microseconds: one step in 512 keeps that below 1 % of a run. The first is
  // not sampled: it makes plans and handles.
  static constexpr int64_t kSampleInterval = 512;

  // Steps 1, 513, 1025, … counted from 0; step 0 of a run of one step.
  static bool IsSampled(int64_t step, int64_t num_steps);

  // samples: whether operations are timed in sampled steps. The CPU needs it not: the ledger of its
  // streams has the time of all operations.
  // Errors: those of Event::CreateTimed.
  static absl::StatusOr<StepClock> Create(Device device, bool samples);

  // The next step's time begins here, else at the end of the step before.
  // Precondition: all steps were asked for.
  absl::Status Start(Stream& stream);

  // Around what a step of a run of `num_steps` queues.
  void BeginStep(int64_t step, int64_t num_steps, Stream& stream);
  absl::Status EndStep(Stream& stream);

  // Of the oldest step not asked for, once the device has run it.
  // Errors: INTERNAL what the device ran into.
  absl::StatusOr<absl::Duration> Elapsed();

  // Of the sampled steps that were asked for.
  struct Samples {
    int64_t num_steps = 0;
    absl::Duration time;
    CallLedger calls;
    int64_t num_untimed = 0;  // operations
  };
  // Unset where steps are not sampled.
  std::optional<Samples> samples() const;

 private:
  static constexpr int64_t kNumMarks = 3;  // the end before, and those of two steps

  StepClock() = default;

  std::array<Event, kNumMarks> marks_;
  std::array<bool, kNumMarks> sampled_ = {};  // the step that ends at the mark
  int64_t ended_ = 0;                         // marks recorded after the start
  int64_t asked_ = 0;
  bool step_is_sampled_ = false;
  std::optional<OperationTimer> timer_;
  int64_t num_samples_ = 0;
  absl::Duration sampled_time_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STEP_CLOCK_H_
