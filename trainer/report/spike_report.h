#ifndef HETERO_TRAINER_REPORT_SPIKE_REPORT_H_
#define HETERO_TRAINER_REPORT_SPIKE_REPORT_H_

// Tells of steps whose loss or gradients stand out, with their samples: what else a run was fed
// when it went wrong.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/telemetry/async_file.h"
#include "hetero/trainer/report/loss_watch.h"
#include "hetero/trainer/report/step_samples.h"

namespace hetero {

struct WatchedStep {
  int64_t step = 0;
  std::string_view loss_name;            // "lm loss"
  double loss = 0;                       // a mean; NaN: one
  std::string_view non_finite_gradient;  // the parameter's name; empty: none is
};

// Used by one thread.
class SpikeReport {
 public:
  // The file spikes.jsonl of `folder` is made with the first spike.
  SpikeReport(LossWatch watch, std::unique_ptr<StepSamples> samples, std::string folder)
      : watch_(watch), samples_(std::move(samples)), folder_(std::move(folder)) {}

  // A line for people, where the step stands out; the file then has a line too, with all samples:
  //   iteration 121: lm loss 8.3121, 2.4 times the mean of the steps before; microbatch 0, lane 0:
  //   a/k12, a/k40, a/k7, b/k3; all 16 samples are in spikes.jsonl
  std::optional<std::string> Look(const WatchedStep& step);

  // As AsyncFile's. OK when there was no spike.
  absl::Status Close();

 private:
  void Write(const WatchedStep& step, const std::vector<SampleOfStep>& samples);

  LossWatch watch_;
  const std::unique_ptr<StepSamples> samples_;
  const std::string folder_;
  std::unique_ptr<AsyncFile> file_;
  absl::Status status_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_SPIKE_REPORT_H_
