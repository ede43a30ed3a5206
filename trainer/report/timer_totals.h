#ifndef HETERO_TRAINER_REPORT_TIMER_TOTALS_H_
#define HETERO_TRAINER_REPORT_TIMER_TOTALS_H_

// What the parts of a rank's program took in the steps since the last report, made ready to be
// compared with that of other ranks.

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/step/program_timer.h"

namespace hetero {

class TimerTotals {
 public:
  // `modules`: of the run, in the order of ProgramTimes.
  explicit TimerTotals(std::vector<std::string> modules)
      : modules_(std::move(modules)), sums_(modules_.size()) {}

  void Add(const ProgramTimes& step);

  // Seconds of a step since the last call, zeros where there was none, as many on every rank and in
  // the order that Named knows: of whole parts of the rank, then by module.
  std::vector<double> Take();

  // The largest of all ranks' under Megatron-LM's names: "forward-backward-time", all until the
  // sums of gradients, and "<part>-time"; of several modules also "<part>-time <module>", where
  // that takes any.
  std::vector<NamedValue> Named(std::span<const double> largest) const;

 private:
  std::vector<std::string> modules_;
  ProgramTimes sums_;
  int64_t num_steps_ = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_TIMER_TOTALS_H_
