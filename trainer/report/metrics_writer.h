#ifndef HETERO_TRAINER_REPORT_METRICS_WRITER_H_
#define HETERO_TRAINER_REPORT_METRICS_WRITER_H_

// Sends a run's metrics to TensorBoard under the tags that Megatron-LM uses, so that runs of both
// lie in one plot. Most tags have a twin "<tag> vs samples" whose step is the number of consumed
// samples.
//
// Beside the event file are metrics.jsonl, a JSON object a line for everything that is written
// (null for what is not finite), and metrics.prom, the latest values as text that Prometheus reads,
// replaced with every interval and evaluation.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/telemetry/async_file.h"
#include "hetero/telemetry/event_file.h"
#include "hetero/telemetry/snapshot_file.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {

// One rank of a run has one: the rank that logs. Thread-safe; never waits for the disk.
class MetricsWriter {
 public:
  // Errors: those of EventFile, AsyncFile and SnapshotFile. Precondition: world_size > 0.
  static absl::StatusOr<std::unique_ptr<MetricsWriter>> Create(const std::string& directory,
                                                               int64_t world_size);

  // With twins: learning-rate, batch-size, every loss under its own name, loss-scale, grad-norm,
  // world-size; those present. Without: those of layers, skipped-train-samples, and of memory
  // Megatron-LM's mem-reserved-bytes, mem-allocated-bytes and mem-max-allocated-bytes, and
  // mem-<owner>-bytes.
  void WriteStep(const StepMetrics& step, absl::Time now = absl::Now());

  // No twins: iteration-time in seconds, iteration-time-ms; with `throughput`, in TFLOP/s of a GPU,
  // throughput and throughput-all-gpus, tokens-per-second-per-gpu, and TFLOP/s by module.
  void WriteInterval(int64_t iteration, const IntervalAverages& averages,
                     const std::optional<Throughput>& throughput = {},
                     absl::Time now = absl::Now());

  // No twins. Seconds of a step under names that end in "-time", or in that and a module.
  void WriteTimers(int64_t iteration, std::span<const NamedValue> values,
                   absl::Time now = absl::Now());

  // With twins: "<name> validation", and "<name> validation ppl" for names that end in "loss".
  void WriteEvaluation(int64_t iteration, int64_t consumed_samples,
                       std::span<const NamedValue> values, absl::Time now = absl::Now());

  // As EventFile's, of all files.
  absl::Status Flush();
  absl::Status Close();

  const std::string& path() const { return file_->path(); }

 private:
  MetricsWriter(std::unique_ptr<EventFile> file, std::unique_ptr<AsyncFile> lines,
                std::unique_ptr<SnapshotFile> snapshot, int64_t world_size)
      : file_(std::move(file)),
        lines_(std::move(lines)),
        snapshot_(std::move(snapshot)),
        world_size_(world_size) {}

  void WriteWithTwins(int64_t iteration, int64_t consumed_samples,
                      std::span<const NamedValue> values, absl::Time now);
  void Write(int64_t step, std::span<const NamedValue> values, absl::Time now);
  // `kind`: "step". Keeps the values as the latest of their names too.
  void WriteLine(std::string_view kind, int64_t iteration, std::optional<int64_t> consumed_samples,
                 std::span<const NamedValue> values, absl::Time now);
  void ReplaceSnapshot();

  const std::unique_ptr<EventFile> file_;
  const std::unique_ptr<AsyncFile> lines_;
  const std::unique_ptr<SnapshotFile> snapshot_;
  absl::Mutex mutex_;
  int64_t iteration_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t consumed_samples_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_skipped_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, double> latest_ ABSL_GUARDED_BY(mutex_);
  const int64_t world_size_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_METRICS_WRITER_H_
