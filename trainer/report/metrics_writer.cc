#include "hetero/trainer/report/metrics_writer.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/open_metrics.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/step/memory_use.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

// Tags of PyTorch's allocator, whose reserved bytes are those that were taken from the device; then
// every owner, memory of the host too.
std::vector<NamedValue> Tagged(const MemoryUse& memory) {
  const auto bytes = [](int64_t number) { return static_cast<double>(number); };
  std::vector<NamedValue> values = {{"mem-reserved-bytes", bytes(memory.taken.device_bytes())},
                                    {"mem-allocated-bytes", bytes(memory.used_bytes)},
                                    {"mem-max-allocated-bytes", bytes(memory.most_used_bytes)}};
  for (int i = 0; i < kNumMemoryLabels; ++i) {
    const auto label = static_cast<MemoryLabel>(i);
    if (memory.taken.bytes(label) == 0) continue;
    const std::string owner = absl::StrReplaceAll(Name(label), {{" ", "-"}});
    values.push_back({absl::StrCat("mem-", owner, "-bytes"), bytes(memory.taken.bytes(label))});
  }
  return values;
}

// Prometheus names say their unit: "iteration seconds" of "iteration-time", "optimizer seconds
// language" of "optimizer-time language".
std::string SnapshotName(std::string_view name) {
  constexpr std::string_view kTime = "-time";
  const size_t at = name.find(kTime);
  if (at == name.npos) return std::string(name);
  const std::string_view rest = name.substr(at + kTime.size());
  if (!rest.empty() && rest[0] != ' ') return std::string(name);
  return absl::StrCat(name.substr(0, at), " seconds", rest);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsWriter>> MetricsWriter::Create(const std::string& directory,
                                                                     int64_t world_size) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<EventFile> file, EventFile::Create(directory));
  HETERO_ASSIGN_OR_RETURN(
      std::unique_ptr<AsyncFile> lines,
      AsyncFile::Create(absl::StrCat(directory, "/metrics.jsonl"), "file of metrics"));
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SnapshotFile> snapshot,
                          SnapshotFile::Create(absl::StrCat(directory, "/metrics.prom")));
  return std::unique_ptr<MetricsWriter>(
      new MetricsWriter(std::move(file), std::move(lines), std::move(snapshot), world_size));
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
  if (step.image_balance.has_value()) {
    values.push_back({"encoder-work-max-over-mean", step.image_balance->shared});
    values.push_back({"encoder-work-max-over-mean-by-lane", step.image_balance->by_lane});
  }
  if (step.params_norm.has_value()) values.push_back({"params-norm", *step.params_norm});
  values.push_back({"world-size", static_cast<double>(world_size_)});
  WriteWithTwins(step.iteration, step.consumed_samples, values, now);
  const size_t num_with_twins = values.size();
  for (const LossSum& layer : step.layers) {
    if (layer.count > 0) values.push_back({layer.name, layer.sum / layer.count});
  }
  if (step.passed_over_samples > 0) {
    values.push_back({"skipped-train-samples", static_cast<double>(step.passed_over_samples)});
  }
  if (step.memory.has_value()) {
    for (NamedValue& value : Tagged(*step.memory)) values.push_back(std::move(value));
  }
  Write(step.iteration, std::span(values).subspan(num_with_twins), now);
  {
    absl::MutexLock lock(&mutex_);
    if (step.skipped) ++num_skipped_;
  }
  values.push_back({"skipped", step.skipped ? 1.0 : 0.0});
  WriteLine("step", step.iteration, step.consumed_samples, values, now);
}

void MetricsWriter::WriteInterval(int64_t iteration, const IntervalAverages& averages,
                                  const std::optional<Throughput>& throughput, absl::Time now) {
  std::vector<NamedValue> values = {{"iteration-time-ms", averages.seconds_per_iteration * 1e3},
                                    {"iteration-time", averages.seconds_per_iteration}};
  if (throughput.has_value()) {
    values.push_back({"throughput", throughput->owner_tflops});
    values.push_back({"throughput-all-gpus", throughput->all_tflops});
    values.push_back({"tokens-per-second-per-gpu", throughput->tokens});
    for (const NamedValue& module : averages.flops) {
      values.push_back({absl::StrCat("tflops ", module.name), module.value * 1e-12});
    }
  }
  Write(iteration, values, now);
  // One unit of time is enough where no other program's tags are to be met.
  WriteLine("interval", iteration, std::nullopt, std::span(values).subspan(1), now);
  ReplaceSnapshot();
}

void MetricsWriter::WriteTimers(int64_t iteration, std::span<const NamedValue> values,
                                absl::Time now) {
  Write(iteration, values, now);
  WriteLine("timers", iteration, std::nullopt, values, now);
  ReplaceSnapshot();
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
  WriteLine("evaluation", iteration, consumed_samples, tagged, now);
  ReplaceSnapshot();
}

void MetricsWriter::WriteLine(std::string_view kind, int64_t iteration,
                              std::optional<int64_t> consumed_samples,
                              std::span<const NamedValue> values, absl::Time now) {
  nlohmann::json line = {{"kind", kind},
                         {"iteration", iteration},
                         {"time", absl::ToDoubleSeconds(now - absl::UnixEpoch())}};
  if (consumed_samples.has_value()) line["consumed_samples"] = *consumed_samples;
  absl::MutexLock lock(&mutex_);
  iteration_ = iteration;
  consumed_samples_ = consumed_samples.value_or(consumed_samples_);
  for (const NamedValue& value : values) {
    line[value.name] = value.value;
    latest_[value.name] = value.value;
  }
  lines_->Append(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void MetricsWriter::ReplaceSnapshot() {
  using Kind = OpenMetric::Kind;
  absl::MutexLock lock(&mutex_);
  std::vector<OpenMetric> metrics = {
      {.name = "iterations", .kind = Kind::kCounter, .value = static_cast<double>(iteration_)},
      {.name = "consumed samples",
       .kind = Kind::kCounter,
       .value = static_cast<double>(consumed_samples_)},
      {.name = "skipped iterations",
       .kind = Kind::kCounter,
       .value = static_cast<double>(num_skipped_),
       .help = "Since this process started."}};
  for (const auto& [name, value] : latest_) {
    if (name == "skipped") continue;
    metrics.push_back({.name = SnapshotName(name), .value = value});
  }
  snapshot_->Replace(OpenMetricsText("hetero", metrics));
}

absl::Status MetricsWriter::Flush() {
  HETERO_RETURN_IF_ERROR(file_->Flush());
  return lines_->Flush();
}

absl::Status MetricsWriter::Close() {
  absl::Status status = file_->Close();
  status.Update(lines_->Close());
  status.Update(snapshot_->Close());
  return status;
}

void MetricsWriter::WriteWithTwins(int64_t iteration, int64_t consumed_samples,
                                   std::span<const NamedValue> values, absl::Time now) {
  Write(iteration, values, now);
  std::vector<NamedValue> twins(values.begin(), values.end());
  for (NamedValue& twin : twins) twin.name += " vs samples";
  Write(consumed_samples, twins, now);
}

void MetricsWriter::Write(int64_t step, std::span<const NamedValue> values, absl::Time now) {
  if (values.empty()) return;
  std::vector<Scalar> scalars;
  for (const NamedValue& value : values) scalars.push_back({value.name, value.value});
  file_->AddScalars(step, now, scalars);
}

}  // namespace hetero
