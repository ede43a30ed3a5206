#ifndef HETERO_TRAINER_STEP_STEP_WAITS_H_
#define HETERO_TRAINER_STEP_STEP_WAITS_H_

#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// How long a rank's thread did not run in training steps, where it is known what it waited for.
struct StepWaits {
  absl::Duration data;
  absl::Duration checkpoints;
  std::vector<absl::Duration> stages;  // by stage of the plan: its rows, or gradients of own rows
};

// Adds the time in which the calling thread did not run, from construction to destruction. Null:
// does nothing.
class WaitScope {
 public:
  explicit WaitScope(absl::Duration* waited) : waited_(waited) {
    if (waited_ == nullptr) return;
    start_ = absl::Now();
    thread_start_ = ThreadTime();
  }
  ~WaitScope() {
    if (waited_ == nullptr) return;
    *waited_ += (absl::Now() - start_) - (ThreadTime() - thread_start_);
  }
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

 private:
  absl::Duration* const waited_;
  absl::Time start_;
  absl::Duration thread_start_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STEP_WAITS_H_
