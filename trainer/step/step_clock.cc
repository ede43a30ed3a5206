#include "hetero/trainer/step/step_clock.h"

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"

namespace hetero {

bool StepClock::IsSampled(int64_t step, int64_t num_steps) {
  const int64_t first = std::min<int64_t>(1, num_steps - 1);
  const int64_t place = step % kSampleInterval;
  return first <= place && place < first + kSampledInARow;
}

absl::StatusOr<StepClock> StepClock::Create(Device device, Options options) {
  StepClock clock;
  for (Event& mark : clock.marks_) {
    HETERO_ASSIGN_OR_RETURN(mark, Event::CreateTimed(device));
  }
  if (!options.samples) return clock;
  HETERO_ASSIGN_OR_RETURN(Event origin, Event::CreateTimed(device));
  clock.origin_ = std::make_unique<Event>(std::move(origin));
  clock.keeps_spans_ = options.max_spans > 0;
  options.sides.insert(options.sides.begin(), {"stream", nullptr});
  for (Side& side : options.sides) {
    HETERO_ASSIGN_OR_RETURN(OperationTimer timer, OperationTimer::Create(device));
    clock.queues_.push_back({.side = side.stream,
                             .timer = std::move(timer),
                             .spans = {std::move(side.name), SpanBuffer(options.max_spans)}});
  }
  return clock;
}

absl::Status StepClock::Start(Stream& stream) {
  CHECK_EQ(asked_, ended_);
  return marks_[ended_ % kNumMarks].Record(stream);
}

absl::Status StepClock::BeginStep(int64_t step, int64_t num_steps, Stream& stream) {
  const bool first_in_a_row = !step_is_sampled_;
  step_is_sampled_ = !queues_.empty() && IsSampled(step, num_steps);
  if (!step_is_sampled_) return absl::OkStatus();
  if (first_in_a_row) {
    HETERO_RETURN_IF_ERROR(origin_->Record(stream));
  }
  for (Queue& queue : queues_) {
    if (keeps_spans_) queue.timer.KeepIntervals(*origin_);
    if (queue.side != nullptr) {
      queue.side->TimeOperations(&queue.timer);
    } else {
      stream.TimeOperations(&queue.timer);
    }
  }
  return absl::OkStatus();
}

absl::Status StepClock::EndStep(Stream& stream) {
  stream.TimeOperations(nullptr);
  for (Queue& queue : queues_) {
    if (queue.side != nullptr) queue.side->TimeOperations(nullptr);
  }
  ++ended_;
  CHECK_LT(ended_ - asked_, kNumMarks);
  sampled_[ended_ % kNumMarks] = step_is_sampled_;
  return marks_[ended_ % kNumMarks].Record(stream);
}

absl::StatusOr<absl::Duration> StepClock::Elapsed() {
  CHECK_LT(asked_, ended_);
  const Event& begin = marks_[asked_ % kNumMarks];
  ++asked_;
  const Event& end = marks_[asked_ % kNumMarks];
  HETERO_RETURN_IF_ERROR(end.Synchronize());
  HETERO_ASSIGN_OR_RETURN(const absl::Duration time, Event::TimeBetween(begin, end));
  if (sampled_[asked_ % kNumMarks]) {
    ++num_samples_;
    sampled_time_ += time;
    // A sampled step that is queued behind it is read with it.
    if (asked_ == ended_ || !sampled_[(asked_ + 1) % kNumMarks]) {
      HETERO_RETURN_IF_ERROR(Collect(end));
    }
  }
  return time;
}

absl::Status StepClock::Collect(const Event& end) {
  HETERO_ASSIGN_OR_RETURN(const absl::Duration until_end, Event::TimeBetween(*origin_, end));
  const absl::Time origin = absl::Now() - until_end;
  for (Queue& queue : queues_) {
    HETERO_RETURN_IF_ERROR(queue.timer.Collect());
    for (const OperationTimer::Interval& interval : queue.timer.TakeIntervals()) {
      queue.spans.spans.Add(interval.name, "device", absl::ToUnixNanos(origin + interval.start),
                            absl::ToInt64Nanoseconds(interval.time));
    }
  }
  return absl::OkStatus();
}

std::optional<StepClock::Samples> StepClock::samples() const {
  if (queues_.empty()) return std::nullopt;
  Samples samples = {.num_steps = num_samples_, .time = sampled_time_};
  for (const Queue& queue : queues_) {
    if (queue.side == nullptr) {
      samples.calls = queue.timer.calls();
    } else {
      samples.beside.push_back(queue.timer.calls());
    }
    samples.num_untimed += queue.timer.num_untimed();
  }
  return samples;
}

std::vector<QueueSpans> StepClock::TakeSpans() {
  std::vector<QueueSpans> spans;
  for (Queue& queue : queues_) spans.push_back(std::move(queue.spans));
  return spans;
}

}  // namespace hetero
