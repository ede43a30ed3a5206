#include "hetero/comm/awake_clock.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace hetero {

absl::Duration MonotonicNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

AwakeClock::AwakeClock(absl::Duration timeout, std::function<absl::Duration()> now)
    : longest_gap_(std::min(timeout / 4, absl::Seconds(1))),
      now_(std::move(now)),
      last_look_(now_()) {}

absl::Duration AwakeClock::Now() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = now_();
  passed_ += std::min(now - last_look_, longest_gap_);
  last_look_ = now;
  return passed_;
}

}  // namespace hetero
