#include "hetero/trainer/signals.h"

#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "absl/log/check.h"

namespace hetero {
namespace {

// A handler has no argument of its own, so what it writes is the process's.
std::atomic<int> received_signal = 0;
std::atomic<int64_t> first_interrupt_ns = 0;  // of the monotonic clock; 0 before the first
std::atomic<int64_t> first_terminate_ns = 0;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free,
              "a signal handler may not lock");
std::atomic<bool> installed = false;

// Calls only what POSIX lists as safe in a handler. Two threads may be in it at once.
extern "C" void RecordStopSignal(int signal) {
  const int error = errno;
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  const int64_t now = int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  int64_t first = 0;
  std::atomic<int64_t>& first_ns = signal == SIGINT ? first_interrupt_ns : first_terminate_ns;
  if (first_ns.compare_exchange_strong(first, now)) {
    int none = 0;
    received_signal.compare_exchange_strong(none, signal);
  } else if (now - first >= StopSignals::kSameSignal.count()) {
    ::signal(signal, SIG_DFL);
    raise(signal);  // blocked until this handler returns
  }
  errno = error;
}

}  // namespace

StopSignals::StopSignals() {
  CHECK(!installed.exchange(true)) << "two StopSignals at a time";
  received_signal = 0;
  first_interrupt_ns = 0;
  first_terminate_ns = 0;
  struct sigaction action = {};
  action.sa_handler = &RecordStopSignal;
  action.sa_flags = SA_RESTART;
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
