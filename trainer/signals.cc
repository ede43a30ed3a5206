#include "hetero/trainer/signals.h"

#include <atomic>

#include "absl/log/check.h"

namespace hetero {
namespace {

// A handler has no argument of its own, so what it writes is the process's.
std::atomic<int> received_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not lock");
std::atomic<bool> installed = false;

extern "C" void RecordStopSignal(int signal) {
  int none = 0;
  received_signal.compare_exchange_strong(none, signal);
}

}  // namespace

StopSignals::StopSignals() {
  CHECK(!installed.exchange(true)) << "two StopSignals at a time";
  received_signal = 0;
  struct sigaction action = {};
  action.sa_handler = &RecordStopSignal;
  action.sa_flags = SA_RESTART | SA_RESETHAND;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    CHECK_EQ(sigaction(kSignals[i], nullptr, &previous_[i]), 0);
    if (previous_[i].sa_handler == SIG_IGN) continue;
    CHECK_EQ(sigaction(kSignals[i], &action, nullptr), 0);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    CHECK_EQ(sigaction(kSignals[i], &previous_[i], nullptr), 0);
  }
  installed = false;
}

int StopSignals::requested() const { return received_signal; }

}  // namespace hetero
