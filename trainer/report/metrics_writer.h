#ifndef HETERO_TRAINER_REPORT_METRICS_WRITER_H_
#define HETERO_TRAINER_REPORT_METRICS_WRITER_H_

// Sends a run's metrics to TensorBoard under the tags that Megatron-LM uses, so that runs of both
// lie in one plot. Most tags have a twin "<tag> vs samples" whose step is the number of consumed
// samples.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/telemetry/event_file.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {

// One rank of a run has one: the rank that logs. Thread-safe; never waits for the disk.
class MetricsWriter {
 public:
  // Errors: those of EventFile::Create. Precondition: world_size > 0.
  static absl::StatusOr<std::unique_ptr<MetricsWriter>> Create(const std::string& directory,
                                                               int64_t world_size);

  // With twins: learning-rate, batch-size, every loss under its own name, loss-scale, grad-norm,
  // world-size; those present.
  void WriteStep(const StepMetrics& step, absl::Time now = absl::Now());

  // No twins: iteration-time in seconds, iteration-time-ms.
  void WriteInterval(int64_t iteration, const IntervalAverages& averages,
                     absl::Time now = absl::Now());

  // With twins: "<name> validation", and "<name> validation ppl" for names that end in "loss".
  void WriteEvaluation(int64_t iteration, int64_t consumed_samples,
                       std::span<const NamedValue> values, absl::Time now = absl::Now());

  // As EventFile's.
  absl::Status Flush() { return file_->Flush(); }
  absl::Status Close() { return file_->Close(); }

  const std::string& path() const { return file_->path(); }

 private:
  MetricsWriter(std::unique_ptr<EventFile> file, int64_t world_size)
      : file_(std::move(file)), world_size_(world_size) {}

  void WriteWithTwins(int64_t iteration, int64_t consumed_samples,
                      std::span<const NamedValue> values, absl::Time now);
  void Write(int64_t step, std::span<const NamedValue> values, absl::Time now);

  const std::unique_ptr<EventFile> file_;
  const int64_t world_size_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_METRICS_WRITER_H_
