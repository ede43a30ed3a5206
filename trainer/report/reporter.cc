#include "hetero/trainer/report/reporter.h"

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/data/balance/share_out.h"

namespace hetero {

bool IsOnConsole(const proto::Logging& logging, int64_t step, int64_t first_step) {
  return step == first_step || (step + 1) % logging.console_interval_steps() == 0;
}

bool IsAmongEvents(const proto::Logging& logging, int64_t step) {
  return (step + 1) % logging.event_interval_steps() == 0;
}

StepMetrics Reporter::MetricsOf(int64_t step, double learning_rate) const {
  StepMetrics metrics{.iteration = step + 1,
                      .consumed_samples = batches_.FirstSample(step + 1),
                      .global_batch_size = batches_.SizeOf(step),
                      .passed_over_samples = passed_over_samples_};
  for (const NamedValue& scale : rate_scales_) {
    if (scale.value == 1) {
      metrics.learning_rate = learning_rate;
    } else {
      metrics.module_rates.push_back({scale.name, scale.value * learning_rate});
    }
  }
  return metrics;
}

void Reporter::Step(int64_t step, const StepResult& result, double learning_rate,
                    absl::Duration elapsed, const std::optional<MemoryUse>& memory) {
  StepMetrics metrics = MetricsOf(step, learning_rate);
  metrics.skipped = result.report.outcome != StepOutcome::kApplied;
  metrics.grad_norm = result.report.gradient_norm;
  metrics.num_zeros = result.report.zero_gradients;
  metrics.params_norm = result.params_norm;
  metrics.memory = memory;
  metrics.losses = TrainingSums(metrics_, result.report.sums);
  if (config_.logging().expert_layers()) {
    metrics.layers = LayerSums(metrics_, result.report.sums);
  }
  sums_.resize(result.report.sums.size());
  std::ranges::transform(sums_, result.report.sums, sums_.begin(), std::plus());
  if (work_.counter != nullptr && uncounted_.ok()) {
    if (absl::StatusOr<StepWork> work = work_.counter->Of(step); work.ok()) {
      metrics.tokens = work->tokens;
      metrics.flops = std::move(work->flops);
    } else {
      uncounted_ = work.status();
    }
  }
  if (work_.shares != nullptr && uncounted_.ok()) {
    if (const auto shares = work_.shares->Of(step); shares.ok()) {
      metrics.image_balance = {.shared = data::MaxOverMean((*shares)->work),
                               .by_lane = data::MaxOverMean((*shares)->work_by_lane)};
    } else {
      uncounted_ = shares.status();
    }
  }
  const LossSum& minimized = metrics.losses.front();
  minimized_.reset();
  if (minimized.count > 0) minimized_ = {minimized.name, minimized.sum / minimized.count};
  if (capsules_ != nullptr) capsules_->Saw(metrics);
  CountProgress(metrics);
  Watch(step, result.report);
  Show(metrics, elapsed);
}

void Reporter::PassOver(int64_t step, double learning_rate) {
  passed_over_samples_ += batches_.SizeOf(step);
  StepMetrics metrics = MetricsOf(step, learning_rate);
  metrics.skipped = true;
  if (capsules_ != nullptr) capsules_->Saw(metrics);
  CountProgress(metrics);
  Show(metrics, absl::ZeroDuration());
}

void Reporter::Watch(int64_t step, const StepReport& report) {
  // A step in which no token had a loss says nothing.
  if (spikes_ == nullptr || !minimized_.has_value()) return;
  const std::optional<std::string> spike =
      spikes_->Look({.step = step,
                     .loss_name = minimized_->name,
                     .loss = minimized_->value,
                     .non_finite_gradient = report.non_finite_parameter});
  if (!spike.has_value()) return;
  Tell(*spike);
  if (capsules_ != nullptr) TellCapsule(capsules_->Write(step + 1, *spike));
}

void Reporter::TellCapsule(const std::string& text) {
  if (!text.empty()) Tell(text);
}

void Reporter::Failed(int64_t step, const absl::Status& failure) {
  if (capsules_ == nullptr) return;
  TellCapsule(capsules_->Write(step + 1, "the run failed", failure.message()));
}

void Reporter::CountProgress(const StepMetrics& metrics) {
  if (progress_ == nullptr) return;
  if (!std::exchange(progress_began_, true)) {
    progress_->Begin(first_step_, source_.parent_path(), start_);
  }
  double flops = 0;
  for (const NamedValue& module : metrics.flops) {
    if (module.name == work_.owner) flops = module.value;
  }
  progress_->Step(metrics.iteration, flops, absl::Now());
}

void Reporter::Show(const StepMetrics& metrics, absl::Duration elapsed) {
  const int64_t step = metrics.iteration - 1;
  interval_.Add(metrics, elapsed);
  if (on_step_) on_step_(metrics);
  num_steps_done_ = metrics.iteration;
  const proto::Logging& logging = config_.logging();
  if (IsAmongEvents(logging, step)) events_->WriteStep(metrics);
  if (IsOnConsole(logging, step, first_step_)) {
    IntervalAverages averages = interval_.averages();
    averages.losses = WorthTelling(metrics_, std::move(averages.losses));
    const std::optional<Throughput> throughput =
        ThroughputOf(averages, work_.owner, work_.owner_ranks, work_.all_ranks);
    console_.Print(
        TrainingLine({.now = absl::Now(), .num_iterations = num_steps_, .throughput = throughput},
                     metrics, averages));
    if (metrics.iteration % logging.console_interval_steps() == 0) {
      events_->WriteInterval(metrics.iteration, averages, throughput);
      interval_.Reset();
    }
  }
  const std::string detail =
      minimized_ ? absl::StrCat(minimized_->name, " ", FormatNumber("%.4f", minimized_->value))
                 : "";
  console_.Progress({.what = "train",
                     .before = first_step_,
                     .done = metrics.iteration,
                     .total = num_steps_,
                     .start = start_,
                     .detail = detail});
}

absl::Status Reporter::Close() {
  absl::Status status = events_->Close();
  if (spikes_ != nullptr) status.Update(spikes_->Close());
  if (progress_ != nullptr) status.Update(progress_->status());
  status.Update(uncounted_);
  return status;
}

void Reporter::Evaluation(int64_t iteration, const EvaluationResult& result) {
  evaluation_.clear();
  for (const LossSum& metric : EvaluationSums(metrics_, result.sums)) {
    if (metric.count > 0) evaluation_.push_back({metric.name, metric.sum / metric.count});
  }
  console_.Print(ValidationBlock(absl::StrCat("iteration ", iteration), evaluation_));
  events_->WriteEvaluation(iteration, batches_.FirstSample(iteration), evaluation_);
}

std::optional<double> Reporter::validation_loss() const {
  const auto loss = std::ranges::find(evaluation_, metrics_.front().name, &NamedValue::name);
  return loss == evaluation_.end() ? std::nullopt : std::optional(loss->value);
}

std::vector<NamedValue> Reporter::ResultValues() const {
  std::vector<NamedValue> values = {{"train seconds", absl::ToDoubleSeconds(train_time_)},
                                    {"skipped steps", static_cast<double>(tally_.num_skipped())}};
  if (minimized_.has_value()) values.push_back(*minimized_);
  for (const Metric& metric : metrics_) {
    if (!metric.only_above.has_value() || sums_.empty()) continue;
    const double value = sums_[metric.numerator] / sums_[metric.denominator];
    if (value > *metric.only_above) values.push_back({metric.name, value});
  }
  for (const NamedValue& value : evaluation_) {
    const bool also_trained = std::ranges::find(metrics_, value.name, &Metric::name)->in_training;
    values.push_back(
        {also_trained ? absl::StrCat("validation ", value.name) : value.name, value.value});
  }
  return values;
}

}  // namespace hetero
