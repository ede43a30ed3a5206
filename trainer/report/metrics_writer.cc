#include "hetero/trainer/report/metrics_writer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<MetricsWriter>> MetricsWriter::Create(const std::string& directory,
                                                                     int64_t world_size) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<EventFile> file, EventFile::Create(directory));
  return std::unique_ptr<MetricsWriter>(new MetricsWriter(std::move(file), world_size));
}

void MetricsWriter::WriteStep(const StepMetrics& step, absl::Time now) {
  std::vector<NamedValue> values;
  if (step.learning_rate.has_value()) values.push_back({"learning-rate", *step.learning_rate});
  for (const NamedValue& rate : step.module_rates) {
    values.push_back({absl::StrCat("learning-rate ", rate.name), rate.value});
  }
  values.push_back({"batch-size", static_cast<double>(step.global_batch_size)});
  for (const LossSum& loss : step.losses) {
    if (loss.count > 0) values.push_back({loss.name, loss.sum / loss.count});
  }
  values.push_back({"loss-scale", 1});
  if (step.grad_norm.has_value()) values.push_back({"grad-norm", *step.grad_norm});
  if (step.num_zeros.has_value()) {
    values.push_back({"num-zeros", static_cast<double>(*step.num_zeros)});
  }
  values.push_back({"world-size", static_cast<double>(world_size_)});
  WriteWithTwins(step.iteration, step.consumed_samples, values, now);
}

void MetricsWriter::WriteInterval(int64_t iteration, const IntervalAverages& averages,
                                  absl::Time now) {
  Write(iteration,
        std::vector<NamedValue>{{"iteration-time", averages.seconds_per_iteration},
                                {"iteration-time-ms", averages.seconds_per_iteration * 1e3}},
        now);
}

void MetricsWriter::WriteEvaluation(int64_t iteration, int64_t consumed_samples,
                                    std::span<const NamedValue> values, absl::Time now) {
  std::vector<NamedValue> tagged;
  for (const NamedValue& value : values) {
    tagged.push_back({absl::StrCat(value.name, " validation"), value.value});
    if (value.name.ends_with("loss")) {
      tagged.push_back({absl::StrCat(value.name, " validation ppl"), Perplexity(value.value)});
    }
  }
  WriteWithTwins(iteration, consumed_samples, tagged, now);
}

void MetricsWriter::WriteWithTwins(int64_t iteration, int64_t consumed_samples,
                                   std::span<const NamedValue> values, absl::Time now) {
  Write(iteration, values, now);
  std::vector<NamedValue> twins(values.begin(), values.end());
  for (NamedValue& twin : twins) twin.name += " vs samples";
  Write(consumed_samples, twins, now);
}

void MetricsWriter::Write(int64_t step, std::span<const NamedValue> values, absl::Time now) {
  std::vector<Scalar> scalars;
  for (const NamedValue& value : values) scalars.push_back({value.name, value.value});
  file_->AddScalars(step, now, scalars);
}

}  // namespace hetero
