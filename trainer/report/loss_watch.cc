#include "hetero/trainer/report/loss_watch.h"

#include <cmath>
#include <numeric>

namespace hetero {

bool LossWatch::StandsOut(double loss) {
  mean_.reset();
  if (last_.size() == window_) {
    mean_ = std::accumulate(last_.begin(), last_.end(), 0.0) / static_cast<double>(window_);
  }
  const bool finite = std::isfinite(loss);
  const bool stands_out = !finite || (mean_.has_value() && loss > factor_ * *mean_);
  if (finite) last_.push_back(loss);
  if (last_.size() > window_) last_.pop_front();
  const bool first = stands_out && !stood_out_;
  stood_out_ = stands_out;
  return first;
}

}  // namespace hetero
