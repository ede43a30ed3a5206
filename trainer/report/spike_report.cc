#include "hetero/trainer/report/spike_report.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/trainer/report/console.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

constexpr size_t kMostTold = 4;  // samples in a line for people
constexpr char kFileName[] = "spikes.jsonl";

nlohmann::json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace

std::optional<std::string> SpikeReport::Look(const WatchedStep& step) {
  // A gradient that is not finite makes the whole step so.
  const double watched = step.non_finite_gradient.empty() ? step.loss : std::nan("");
  if (!watch_.StandsOut(watched)) return std::nullopt;
  std::string text = absl::StrCat("iteration ", step.step + 1, ": ", step.loss_name, " ",
                                  FormatNumber("%.4f", step.loss));
  if (!step.non_finite_gradient.empty()) {
    absl::StrAppend(&text, ", the gradient of ", step.non_finite_gradient, " is infinite or NaN");
  } else if (std::isfinite(step.loss)) {
    absl::StrAppendFormat(&text, ", %.1f times the mean of the steps before",
                          step.loss / *watch_.mean());
  }
  const absl::StatusOr<std::vector<SampleOfStep>> samples = samples_->Of(step.step);
  if (!samples.ok()) {
    return absl::StrCat(text, "; its samples cannot be read: ", samples.status().message());
  }
  Write(step, *samples);
  const SampleOfStep* last = nullptr;
  for (size_t i = 0; i < std::min(kMostTold, samples->size()); ++i) {
    const SampleOfStep& sample = (*samples)[i];
    if (last == nullptr || last->microbatch != sample.microbatch || last->lane != sample.lane) {
      absl::StrAppend(&text, "; microbatch ", sample.microbatch, ", lane ", sample.lane, ": ");
    } else {
      absl::StrAppend(&text, ", ");
    }
    absl::StrAppend(&text, sample.name);
    last = &sample;
  }
  return absl::StrCat(text, "; all ", samples->size(), " samples are in ", kFileName);
}

void SpikeReport::Write(const WatchedStep& step, const std::vector<SampleOfStep>& samples) {
  if (file_ == nullptr) {
    absl::StatusOr<std::unique_ptr<AsyncFile>> file =
        AsyncFile::Create(absl::StrCat(folder_, "/", kFileName), "file of spikes");
    status_.Update(file.status());
    if (!file.ok()) return;
    file_ = *std::move(file);
  }
  nlohmann::json line = {{"iteration", step.step + 1},
                         {"loss", NumberOrNull(step.loss)},
                         {"mean", NumberOrNull(watch_.mean().value_or(std::nan("")))},
                         {"non_finite_gradient", std::string(step.non_finite_gradient)},
                         {"samples", nlohmann::json::array()}};
  for (const SampleOfStep& sample : samples) {
    line["samples"].push_back({{"microbatch", sample.microbatch},
                               {"lane", sample.lane},
                               {"index", sample.index},
                               {"name", sample.name}});
  }
  file_->Append(
      absl::StrCat(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), "\n"));
}

absl::Status SpikeReport::Close() {
  if (file_ != nullptr) status_.Update(file_->Close());
  return status_;
}

}  // namespace hetero
