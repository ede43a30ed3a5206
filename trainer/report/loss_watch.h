#ifndef HETERO_TRAINER_REPORT_LOSS_WATCH_H_
#define HETERO_TRAINER_REPORT_LOSS_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace hetero {

// Sees a step whose loss stands out from the steps before it.
class LossWatch {
 public:
  // Above `factor` times the mean of the last `window` steps. Precondition: factor >= 1, window >
  // 0.
  LossWatch(int64_t window, double factor)
      : window_(static_cast<size_t>(window)), factor_(factor) {}

  // Whether this step's loss stands out: it is infinite or NaN, or there were `window` steps and it
  // is that far above their mean. Of several such steps in a row only the first does.
  bool StandsOut(double loss);

  // Of the steps before the last call; nullopt: there were too few.
  std::optional<double> mean() const { return mean_; }

 private:
  const size_t window_;
  const double factor_;
  std::deque<double> last_;  // finite ones
  std::optional<double> mean_;
  bool stood_out_ = false;  // the last one
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_LOSS_WATCH_H_
