#include "hetero/trainer/reporter.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace hetero {

void Reporter::Step(int64_t step, const StepResult& result, double learning_rate,
                    absl::Duration elapsed) {
  const int64_t iteration = step + 1;
  StepMetrics metrics{.iteration = iteration,
                      .consumed_samples = iteration * config_.global_batch_size(),
                      .global_batch_size = config_.global_batch_size(),
                      .skipped = result.report.outcome != StepOutcome::kApplied,
                      .learning_rate = learning_rate,
                      .grad_norm = result.report.gradient_norm};
  const double tokens = result.report.tokens;
  metrics.losses.push_back({"lm loss", result.lm_loss_sum, tokens});
  if (result.has_balance_loss) {
    metrics.losses.push_back({"seq_load_balancing_loss", result.balance_loss, 1});
  }
  interval_.Add(metrics, elapsed);
  if (on_step_) on_step_(metrics);
  num_steps_done_ = iteration;
  lm_loss_ = tokens > 0 ? std::optional(result.lm_loss_sum / tokens) : std::nullopt;

  const proto::Logging& logging = config_.logging();
  if (iteration % logging.event_interval_steps() == 0) events_->WriteStep(metrics);
  const bool interval_ends = iteration % logging.console_interval_steps() == 0;
  if (interval_ends || iteration == 1) {
    const IntervalAverages averages = interval_.averages();
    console_.Print(
        TrainingLine({.now = absl::Now(), .num_iterations = num_steps_}, metrics, averages));
    if (interval_ends) {
      events_->WriteInterval(iteration, averages);
      interval_.Reset();
    }
  }
  const std::string detail =
      lm_loss_ ? absl::StrCat("lm loss ", FormatNumber("%.4f", *lm_loss_)) : "";
  console_.Progress(
      {.what = "train", .done = iteration, .total = num_steps_, .start = start_, .detail = detail});
}

void Reporter::Evaluation(int64_t iteration, const EvaluationResult& result) {
  evaluation_.clear();
  const auto add = [&](std::string_view name, double sum, double count) {
    if (count > 0) evaluation_.push_back({std::string(name), sum / count});
  };
  add("lm loss", result.lm_loss_sum, result.tokens);
  add("caption accuracy", static_cast<double>(result.exact_matches),
      static_cast<double>(result.sequences));
  console_.Print(ValidationBlock(absl::StrCat("iteration ", iteration), evaluation_));
  events_->WriteEvaluation(iteration, iteration * config_.global_batch_size(), evaluation_);
}

std::optional<double> Reporter::validation_loss() const {
  const auto loss = std::ranges::find(evaluation_, "lm loss", &NamedValue::name);
  return loss == evaluation_.end() ? std::nullopt : std::optional(loss->value);
}

std::vector<NamedValue> Reporter::ResultValues() const {
  std::vector<NamedValue> values = {{"train seconds", absl::ToDoubleSeconds(train_time_)},
                                    {"skipped steps", static_cast<double>(tally_.num_skipped())}};
  if (lm_loss_.has_value()) values.push_back({"lm loss", *lm_loss_});
  for (const NamedValue& value : evaluation_) {
    const bool also_trained = value.name == "lm loss";
    values.push_back(
        {also_trained ? absl::StrCat("validation ", value.name) : value.name, value.value});
  }
  return values;
}

}  // namespace hetero
