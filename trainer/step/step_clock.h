#ifndef HETERO_TRAINER_STEP_STEP_CLOCK_H_
#define HETERO_TRAINER_STEP_STEP_CLOCK_H_

// The time of training steps on their device, as the device measures it: a host that is a step
// ahead of a GPU cannot. In sampled steps it also times every operation, those on the sides of the
// stream too.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/operation_timer.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// A queue of a rank's device in a trace.
struct QueueSpans {
  std::string name;  // "parameters and gradients"
  SpanBuffer spans;
};

// Steps begin and end in order; when one begins, at most one that ended has not been asked for.
class StepClock {
 public:
  // A sampled step has two events more an operation and takes up to three times as long where
  // kernels take a few microseconds: two steps in 512 keep that below 1 % of a run. The first is
  // not sampled: it makes plans and handles. Two one after the other, because what the first
  // fetches lies under the forward of the second.
  static constexpr int64_t kSampleInterval = 512;
  static constexpr int64_t kSampledInARow = 2;

  // Steps 1 and 2, 513 and 514, … counted from 0; step 0 of a run of one step.
  static bool IsSampled(int64_t step, int64_t num_steps);

  // A queue beside the stream, which outlives the clock.
  struct Side {
    std::string name;
    SideStream* stream;
  };

  struct Options {
    // Whether operations are timed in sampled steps. The CPU needs it not: the ledger of its
    // streams has the time of all operations.
    bool samples = false;
    std::vector<Side> sides = {};
    int64_t max_spans = 0;  // kept of a queue, for a trace
  };

  // Errors: those of Event::CreateTimed.
  static absl::StatusOr<StepClock> Create(Device device, Options options);

  // The next step's time begins here, else at the end of the step before.
  // Precondition: all steps were asked for.
  absl::Status Start(Stream& stream);

  // Around what a step of a run of `num_steps` queues.
  absl::Status BeginStep(int64_t step, int64_t num_steps, Stream& stream);
  absl::Status EndStep(Stream& stream);

  // Of the oldest step not asked for, once the device has run it.
  // Errors: INTERNAL what the device ran into.
  absl::StatusOr<absl::Duration> Elapsed();

  // Of the sampled steps that were asked for, when the last in a row was.
  struct Samples {
    int64_t num_steps = 0;
    absl::Duration time;
    CallLedger calls;                // of the stream
    std::vector<CallLedger> beside;  // of each side, at the same time
    int64_t num_untimed = 0;         // operations
  };
  // Unset where steps are not sampled.
  std::optional<Samples> samples() const;

  // The sampled operations of the stream and of each side.
  std::vector<QueueSpans> TakeSpans();

 private:
  static constexpr int64_t kNumMarks = 3;  // the end before, and those of two steps

  struct Queue {
    SideStream* side;  // null: the stream itself
    OperationTimer timer;
    QueueSpans spans;
  };

  StepClock() = default;

  // Reads the operations of the sampled steps in a row, of which the last ended with `end`.
  absl::Status Collect(const Event& end);

  std::array<Event, kNumMarks> marks_;
  std::array<bool, kNumMarks> sampled_ = {};  // the step that ends at the mark
  int64_t ended_ = 0;                         // marks recorded after the start
  int64_t asked_ = 0;
  bool step_is_sampled_ = false;
  std::unique_ptr<Event> origin_;  // where the sampled steps in a row begin
  std::vector<Queue> queues_;      // empty: steps are not sampled
  bool keeps_spans_ = false;
  int64_t num_samples_ = 0;
  absl::Duration sampled_time_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STEP_CLOCK_H_
