#ifndef HETERO_TRAINER_REPORT_REPORTER_H_
#define HETERO_TRAINER_REPORT_REPORTER_H_

// What the rank that logs tells about a run: console lines, TensorBoard, and the totals that the
// process ends with.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/config/batch_schedule.h"
#include "hetero/trainer/feed/media_shares.h"
#include "hetero/trainer/replay/capsule_writer.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/report/metrics_writer.h"
#include "hetero/trainer/report/progress_log.h"
#include "hetero/trainer/report/spike_report.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/report/step_work.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/step/memory_use.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

// By which throughput is told, without a counter it is not, and how even the work of an encoder is,
// without shares it is not.
struct WorkCount {
  std::unique_ptr<MediaShares> shares = {};
  std::unique_ptr<StepWorkCounter> counter = {};
  std::string owner = {};  // the module that owns the samples
  int64_t owner_ranks = 0;
  int64_t all_ranks = 0;
};

// Whether something is told of step `step` of a run whose first is `first_step`: on the console,
// and among the events.
bool IsOnConsole(const proto::Logging& logging, int64_t step, int64_t first_step);
bool IsAmongEvents(const proto::Logging& logging, int64_t step);

// Used by the thread of one rank, then by the thread that joined it.
class Reporter {
 public:
  // `metrics`: of the model's graph. `rate_scales`: of the modules that train, by which the run's
  // learning rate is theirs. `console` outlives the reporter. `on_step` is told of every step; may
  // be empty. `spikes`, `capsules` and `progress`: null, none are told or written.
  Reporter(const proto::RunConfig& config, std::vector<Metric> metrics,
           std::vector<NamedValue> rate_scales, int64_t num_steps,
           std::function<void(const StepMetrics&)> on_step, Console& console,
           std::unique_ptr<MetricsWriter> events, WorkCount work = {},
           std::unique_ptr<SpikeReport> spikes = nullptr,
           std::unique_ptr<CapsuleWriter> capsules = nullptr,
           std::unique_ptr<ProgressLog> progress = nullptr)
      : config_(config),
        batches_(BatchScheduleOf(config)),
        metrics_(std::move(metrics)),
        rate_scales_(std::move(rate_scales)),
        num_steps_(num_steps),
        on_step_(std::move(on_step)),
        console_(console),
        events_(std::move(events)),
        work_(std::move(work)),
        spikes_(std::move(spikes)),
        capsules_(std::move(capsules)),
        progress_(std::move(progress)) {}

  // A line for people.
  void Tell(std::string_view line) { console_.Print(line); }

  // So many steps were done before this run, and samples passed over in them; the state is that of
  // the folder `checkpoint`, or of no checkpoint where it is empty.
  void GoesOnFrom(int64_t num_steps, int64_t passed_over_samples,
                  const std::filesystem::path& checkpoint) {
    num_steps_done_ = first_step_ = num_steps;
    passed_over_samples_ = passed_over_samples;
    source_ = checkpoint;
    if (capsules_ != nullptr) capsules_->Loaded(checkpoint);
  }

  // The state after `iteration` steps was published as the folder `checkpoint`.
  void Saved(int64_t iteration, const std::filesystem::path& checkpoint) {
    if (progress_ != nullptr) progress_->Saved(iteration, batches_.FirstSample(iteration));
    if (capsules_ != nullptr) capsules_->Saved(iteration, checkpoint);
  }

  // The run ended with `failure` in step `step`, or, where a GPU had more in its queue, in one soon
  // before it.
  void Failed(int64_t step, const absl::Status& failure);

  // What became of the last checkpoint of the run, as far as it is known.
  void Unsaved(const absl::Status& status) { unsaved_ = status; }
  const absl::Status& unsaved() const { return unsaved_; }

  // After step `step`, which took `elapsed`; the next update runs at `learning_rate`. `memory` is
  // told where it is set.
  void Step(int64_t step, const StepResult& result, double learning_rate, absl::Duration elapsed,
            const std::optional<MemoryUse>& memory = std::nullopt);

  // After `iteration` steps: of those since the last call, MetricsWriter::WriteTimers.
  void Timers(int64_t iteration, std::span<const NamedValue> values) {
    events_->WriteTimers(iteration, values);
  }

  // Step `step` was passed over; the next update runs at `learning_rate`.
  void PassOver(int64_t step, double learning_rate);

  // After `iteration` steps.
  void Evaluation(int64_t iteration, const EvaluationResult& result);

  // After the last step and evaluation: the wall time of all steps, what became of them, and
  // whether a signal ended them.
  void TrainingEnds(absl::Duration train_time, const StepTally& tally, bool stopped) {
    train_time_ = train_time;
    tally_ = tally;
    stopped_ = stopped;
  }

  // Closes the event file. Errors: those of MetricsWriter::Close, SpikeReport::Close and
  // ProgressLog, and what kept the work of a step from being counted.
  absl::Status Close();

  int64_t num_steps_done() const { return num_steps_done_; }
  const StepTally& tally() const { return tally_; }
  bool stopped() const { return stopped_; }

  // What training minimizes, in the latest evaluation.
  std::optional<double> validation_loss() const;

  // For the RESULT line: "train seconds", "skipped steps", what training minimizes in the last
  // step, the metrics that over the run are above what they are told above, and those of the last
  // evaluation; "validation" before a name that training has too.
  std::vector<NamedValue> ResultValues() const;

 private:
  // What is known of step `step` whatever became of it.
  StepMetrics MetricsOf(int64_t step, double learning_rate) const;
  void Watch(int64_t step, const StepReport& report);
  void CountProgress(const StepMetrics& metrics);
  void TellCapsule(const std::string& text);  // nothing of an empty one
  void Show(const StepMetrics& metrics, absl::Duration elapsed);

  const proto::RunConfig config_;
  const data::BatchSchedule batches_;
  const std::vector<Metric> metrics_;
  const std::vector<NamedValue> rate_scales_;
  const int64_t num_steps_;
  const std::function<void(const StepMetrics&)> on_step_;
  Console& console_;
  const std::unique_ptr<MetricsWriter> events_;
  const WorkCount work_;
  const std::unique_ptr<SpikeReport> spikes_;
  const std::unique_ptr<CapsuleWriter> capsules_;
  const std::unique_ptr<ProgressLog> progress_;
  bool progress_began_ = false;
  std::filesystem::path source_;  // of the state that the run goes on with
  MetricsInterval interval_;
  const absl::Time start_ = absl::Now();

  int64_t first_step_ = 0;
  int64_t num_steps_done_ = 0;
  int64_t passed_over_samples_ = 0;
  absl::Status unsaved_;
  absl::Status uncounted_;
  absl::Duration train_time_;
  StepTally tally_;
  bool stopped_ = false;
  std::vector<double> sums_;             // of all steps: the model's totals
  std::optional<NamedValue> minimized_;  // of the last step
  std::vector<NamedValue> evaluation_;   // of the latest
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_REPORTER_H_
