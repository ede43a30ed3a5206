#ifndef HETERO_COMM_AWAKE_CLOCK_H_
#define HETERO_COMM_AWAKE_CLOCK_H_

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace hetero {

// Since the system started, without the time that the machine slept.
absl::Duration MonotonicNow();

// Time for deadlines, which passes only while somebody looks: between two looks it advances by
// `longest_gap` at most. A process that was stopped (SIGSTOP, a debugger, a closed laptop) and goes
// on finds that next to no time has passed, so what it waited for has its whole deadline left.
// Thread-safe.
class AwakeClock {
 public:
  // For deadlines of `timeout`. `now` is for tests.
  explicit AwakeClock(absl::Duration timeout, std::function<absl::Duration()> now = MonotonicNow);

  // Since construction. Whoever waits for a deadline looks at least every `tick()`.
  absl::Duration Now();

  absl::Duration tick() const { return longest_gap_ / 2; }

 private:
  const absl::Duration longest_gap_;
  const std::function<absl::Duration()> now_;
  absl::Mutex mutex_;
  absl::Duration last_look_ ABSL_GUARDED_BY(mutex_);
  absl::Duration passed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_COMM_AWAKE_CLOCK_H_
