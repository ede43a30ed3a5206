#ifndef HETERO_TRAINER_SIGNALS_H_
#define HETERO_TRAINER_SIGNALS_H_

// A polite stop: SIGINT and SIGTERM set a flag that the loop reads after each step.

#include <signal.h>

#include <array>
#include <chrono>

namespace hetero {

// While it lives, the first SIGINT and the first SIGTERM only set the flag. One of the same kind
// that comes at least kSameSignal after the first acts as it did by default, so that an impatient
// Ctrl-C ends a stuck run; one that comes sooner is the same request: timeout(1) sends its signal
// to the program and then to the program's group. Signals that were ignored stay ignored.
// Destruction restores the earlier actions.
//
// Signal actions belong to the process: at most one object at a time (checked), made and destroyed
// while no other thread changes signal actions. Any thread may ask requested().
class StopSignals {
 public:
  static constexpr std::chrono::nanoseconds kSameSignal = std::chrono::seconds(1);

  StopSignals();
  ~StopSignals();

  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The first signal received since construction, or 0.
  int requested() const;

 private:
  static constexpr std::array<int, 2> kSignals = {SIGINT, SIGTERM};
  std::array<struct sigaction, kSignals.size()> previous_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_SIGNALS_H_
