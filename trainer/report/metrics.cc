#include "hetero/trainer/report/metrics.h"

#include <algorithm>
#include <cmath>

#include "absl/log/check.h"

namespace hetero {
namespace {

void AddTo(std::vector<LossSum>& totals, const std::vector<LossSum>& losses) {
  for (const LossSum& loss : losses) {
    auto total = std::ranges::find(totals, loss.name, &LossSum::name);
    if (total == totals.end()) total = totals.insert(total, {.name = loss.name});
    total->sum += loss.sum;
    total->count += loss.count;
  }
}

LossSum SumOf(const Metric& metric, std::span<const double> sums) {
  return {.name = metric.name, .sum = sums[metric.numerator], .count = sums[metric.denominator]};
}

}  // namespace

std::vector<LossSum> TrainingSums(std::span<const Metric> metrics, std::span<const double> sums) {
  std::vector<LossSum> result;
  for (const Metric& metric : metrics) {
    if (metric.in_training && !metric.of_layer) result.push_back(SumOf(metric, sums));
  }
  return result;
}

std::vector<LossSum> LayerSums(std::span<const Metric> metrics, std::span<const double> sums) {
  std::vector<LossSum> result;
  for (const Metric& metric : metrics) {
    if (metric.in_training && metric.of_layer) result.push_back(SumOf(metric, sums));
  }
  return result;
}

std::vector<LossSum> EvaluationSums(std::span<const Metric> metrics, std::span<const double> sums) {
  std::vector<LossSum> result;
  for (const Metric& metric : metrics) {
    if (metric.in_evaluation) result.push_back(SumOf(metric, sums));
  }
  return result;
}

std::vector<NamedValue> WorthTelling(std::span<const Metric> metrics,
                                     std::vector<NamedValue> values) {
  std::erase_if(values, [&](const NamedValue& value) {
    const auto metric = std::ranges::find(metrics, value.name, &Metric::name);
    return metric != metrics.end() && metric->only_above.has_value() &&
           value.value <= *metric->only_above;
  });
  return values;
}

std::optional<Throughput> ThroughputOf(const IntervalAverages& averages, std::string_view owner,
                                       int64_t owner_ranks, int64_t all_ranks) {
  if (averages.tokens <= 0) return std::nullopt;
  Throughput throughput{.tokens = averages.tokens / static_cast<double>(all_ranks)};
  for (const NamedValue& module : averages.flops) {
    throughput.all_tflops += module.value * 1e-12 / static_cast<double>(all_ranks);
    if (module.name == owner) {
      throughput.owner_tflops = module.value * 1e-12 / static_cast<double>(owner_ranks);
    }
  }
  return throughput;
}

double Perplexity(double loss) {
  return std::isfinite(loss) ? std::exp(std::min(20.0, loss)) : loss;
}

void MetricsInterval::Add(const StepMetrics& step, absl::Duration elapsed) {
  elapsed_ += elapsed;
  ++num_iterations_;
  tokens_ += step.tokens;
  flops_.resize(step.flops.size());
  for (size_t i = 0; i < step.flops.size(); ++i) {
    flops_[i].name = step.flops[i].name;
    flops_[i].value += step.flops[i].value;
  }
  AddTo(step.skipped ? skipped_ : losses_, step.losses);
  if (!step.skipped) return;
  ++skipped_iterations_;
  nan_iterations_ += std::ranges::any_of(
      step.losses, [](const LossSum& loss) { return !std::isfinite(loss.sum); });
}

IntervalAverages MetricsInterval::averages() const {
  CHECK_GT(num_iterations_, 0);
  IntervalAverages averages{
      .seconds_per_iteration = absl::ToDoubleSeconds(elapsed_) / num_iterations_,
      .skipped_iterations = skipped_iterations_,
      .nan_iterations = nan_iterations_};
  if (const double seconds = absl::ToDoubleSeconds(elapsed_); seconds > 0) {
    averages.tokens = tokens_ / seconds;
    averages.flops = flops_;
    for (NamedValue& module : averages.flops) module.value /= seconds;
  }
  const bool none_updated = skipped_iterations_ == num_iterations_;
  for (const LossSum& loss : none_updated ? skipped_ : losses_) {
    if (loss.count > 0) averages.losses.push_back({loss.name, loss.sum / loss.count});
  }
  return averages;
}

}  // namespace hetero
