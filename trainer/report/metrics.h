#ifndef HETERO_TRAINER_REPORT_METRICS_H_
#define HETERO_TRAINER_REPORT_METRICS_H_

// What one training iteration reports, and its averages over the iterations between two lines of
// the log. Plain values: console.h prints them, metrics_writer.h sends them to TensorBoard.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/step/memory_use.h"

namespace hetero {

struct NamedValue {
  std::string name;
  double value = 0;

  bool operator==(const NamedValue&) const = default;
};

// A loss summed over what it counts (loss tokens of all microbatches and data lanes). A value that
// is an average already has count 1.
struct LossSum {
  std::string name;  // "lm loss"
  double sum = 0;
  double count = 0;
};

// What the metrics of a model's graph are that stand for training, or for evaluation. `sums`: of
// all ranks, the model's totals. LayerSums: of single layers in training.
std::vector<LossSum> TrainingSums(std::span<const Metric> metrics, std::span<const double> sums);
std::vector<LossSum> LayerSums(std::span<const Metric> metrics, std::span<const double> sums);
std::vector<LossSum> EvaluationSums(std::span<const Metric> metrics, std::span<const double> sums);

// What is told of `values` among others: those that their metric wants told.
std::vector<NamedValue> WorthTelling(std::span<const Metric> metrics,
                                     std::vector<NamedValue> values);

// How far the busiest lane of an encoder is above the mean of its lanes, 1 where all work alike.
struct ImageBalance {
  double shared = 1;   // as the images of the step were shared out
  double by_lane = 1;  // had each lane the images of its samples

  bool operator==(const ImageBalance&) const = default;
};

struct StepMetrics {
  int64_t iteration = 0;         // 1 for the first of the run
  int64_t consumed_samples = 0;  // by the run, this iteration included
  int64_t global_batch_size = 0;
  int64_t passed_over_samples = 0;  // of these, that skip_steps named
  bool skipped = false;             // the parameters were not updated
  std::vector<LossSum> losses;      // empty where no loss is computed
  std::vector<LossSum> layers;      // of single layers; empty where nobody wants them
  // Of the next update; none when no module learns at the run's rate.
  std::optional<double> learning_rate;
  std::vector<NamedValue> module_rates;  // of the modules that learn at rates of their own
  std::optional<double> grad_norm;       // before clipping
  std::optional<int64_t> num_zeros;      // elements of the gradient that are 0
  std::optional<double> params_norm;     // of all parameters, after the step
  std::optional<MemoryUse> memory;       // of the rank that logs, after the step
  // What the step's samples are and take by definition; 0 and empty where nobody counts it.
  double tokens = 0;
  std::vector<NamedValue> flops;              // by module
  std::optional<ImageBalance> image_balance;  // unset where images are not shared out by cost
};

struct IntervalAverages {
  double seconds_per_iteration = 0;
  // Total sum / total count of each loss, in order of first appearance; none for a loss that
  // counted nothing. Of the iterations that updated the parameters; of all of them where none did.
  std::vector<NamedValue> losses;
  int64_t skipped_iterations = 0;
  int64_t nan_iterations = 0;  // skipped, and one of their losses was not finite
  // A second; 0 and empty as in StepMetrics.
  double tokens = 0;
  std::vector<NamedValue> flops;
};

// What a rank does a second, of the time of whole steps.
struct Throughput {
  double tokens = 0;        // over all ranks of the run
  double owner_tflops = 0;  // of the module that owns the samples, over its ranks, as Megatron-LM
  double all_tflops = 0;    // of all modules over all ranks

  bool operator==(const Throughput&) const = default;
};

// Of a run in which `owner` has `owner_ranks` of `all_ranks`; nothing where nothing was counted.
std::optional<Throughput> ThroughputOf(const IntervalAverages& averages, std::string_view owner,
                                       int64_t owner_ranks, int64_t all_ranks);

// exp(min(20, loss)); the loss itself where it is infinite or NaN.
double Perplexity(double loss);

// Accumulates the iterations since the last Reset.
class MetricsInterval {
 public:
  // `elapsed` is the time from the end of the previous iteration to the end of this one, without
  // evaluation, on the clock of the device.
  void Add(const StepMetrics& step, absl::Duration elapsed);

  // Precondition: an iteration was added since the last Reset.
  IntervalAverages averages() const;

  void Reset() { *this = MetricsInterval(); }

 private:
  std::vector<LossSum> losses_;   // of iterations that updated the parameters
  std::vector<LossSum> skipped_;  // of the others
  absl::Duration elapsed_;
  int64_t num_iterations_ = 0;
  int64_t skipped_iterations_ = 0;
  int64_t nan_iterations_ = 0;
  double tokens_ = 0;
  std::vector<NamedValue> flops_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_METRICS_H_
