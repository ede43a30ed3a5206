#include "hetero/trainer/step/step_clock.h"

#include <algorithm>

#include "absl/log/check.h"
#include "hetero/base/status.h"

namespace hetero {

bool StepClock::IsSampled(int64_t step, int64_t num_steps) {
  return step % kSampleInterval == std::min<int64_t>(1, num_steps - 1);
}

absl::StatusOr<StepClock> StepClock::Create(Device device, bool samples) {
  StepClock clock;
  for (Event& mark : clock.marks_) {
    HETERO_ASSIGN_OR_RETURN(mark, Event::CreateTimed(device));
  }
  if (samples) {
    HETERO_ASSIGN_OR_RETURN(clock.timer_, OperationTimer::Create(device));
  }
  return clock;
}

absl::Status StepClock::Start(Stream& stream) {
  CHECK_EQ(asked_, ended_);
  return marks_[ended_ % kNumMarks].Record(stream);
}

void StepClock::BeginStep(int64_t step, int64_t num_steps, Stream& stream) {
  step_is_sampled_ = timer_.has_value() && IsSampled(step, num_steps);
  if (step_is_sampled_) stream.TimeOperations(&*timer_);
}

absl::Status StepClock::EndStep(Stream& stream) {
  stream.TimeOperations(nullptr);
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
    HETERO_RETURN_IF_ERROR(timer_->Collect());
    ++num_samples_;
    sampled_time_ += time;
  }
  return time;
}

std::optional<StepClock::Samples> StepClock::samples() const {
  if (!timer_.has_value()) return std::nullopt;
  return Samples{.num_steps = num_samples_,
                 .time = sampled_time_,
                 .calls = timer_->calls(),
                 .num_untimed = timer_->num_untimed()};
}

}  // namespace hetero
