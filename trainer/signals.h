#ifndef HETERO_TRAINER_SIGNALS_H_
#define HETERO_TRAINER_SIGNALS_H_

// A polite stop: SIGINT and SIGTERM set a flag that the loop reads after each step.

#include <signal.h>

#include <array>

namespace hetero {

// While it lives, the first SIGINT and the first SIGTERM only set the flag; a second one of the
// same kind acts as it did by default, so that an impatient Ctrl-C ends a stuck run. Signals that
// were ignored stay ignored. Destruction restores the earlier actions.
//
// Signal actions belong to the process: at most one object at a time (checked), made and destroyed
// while no other thread changes signal actions. Any thread may ask requested().
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();

  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The first signal received since construction, or 0.
  int requested() const;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM};
  std::array<struct sigaction, kSignals.size()> previous_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_SIGNALS_H_
