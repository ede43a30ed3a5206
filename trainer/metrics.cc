#include "hetero/trainer/metrics.h"

#include <algorithm>
#include <cmath>

#include "absl/log/check.h"

namespace hetero {

void MetricsInterval::Add(const StepMetrics& step, absl::Duration elapsed) {
  elapsed_ += elapsed;
  ++num_iterations_;
  if (step.skipped) {
    ++skipped_iterations_;
    nan_iterations_ += std::ranges::any_of(
        step.losses, [](const LossSum& loss) { return !std::isfinite(loss.sum); });
    return;
  }
  for (const LossSum& loss : step.losses) {
    auto total = std::ranges::find(losses_, loss.name, &LossSum::name);
    if (total == losses_.end()) total = losses_.insert(total, {.name = loss.name});
    total->sum += loss.sum;
    total->count += loss.count;
  }
}

IntervalAverages MetricsInterval::averages() const {
  CHECK_GT(num_iterations_, 0);
  IntervalAverages averages{
      .seconds_per_iteration = absl::ToDoubleSeconds(elapsed_) / num_iterations_,
      .skipped_iterations = skipped_iterations_,
      .nan_iterations = nan_iterations_};
  for (const LossSum& loss : losses_) {
    if (loss.count > 0) averages.losses.push_back({loss.name, loss.sum / loss.count});
  }
  return averages;
}

}  // namespace hetero
