#ifndef HETERO_TRAINER_REPORT_STEP_WORK_H_
#define HETERO_TRAINER_REPORT_STEP_WORK_H_

// What the samples of a step are to a model: their tokens, and the operations that they take by
// definition, whatever the layout and the kernels. A row that several samples share counts as one.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/data/source.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {

struct StepWork {
  double tokens = 0;              // of the step's rows, padding included
  std::vector<NamedValue> flops;  // of training, by module in the graph's order
};

// Used by one thread.
class StepWorkCounter {
 public:
  // `model` outlives it. Errors: those of opening the source.
  static absl::StatusOr<std::unique_ptr<StepWorkCounter>> Create(
      const Model& model, const SampleSet& samples, int64_t sequence_length,
      const data::BatchSchedule& batches);

  // Reads no pixel. Errors: those of the source.
  absl::StatusOr<StepWork> Of(int64_t step);

 private:
  StepWorkCounter(const Model& model, const SampleSet& samples, int64_t sequence_length,
                  data::BatchSchedule batches)
      : model_(model),
        order_(samples.order),
        sequence_length_(sequence_length),
        batches_(std::move(batches)) {}

  const Model& model_;
  const data::SampleOrder order_;
  const int64_t sequence_length_;
  const data::BatchSchedule batches_;
  std::unique_ptr<data::SampleSource> source_;
  std::vector<SampleFacts> facts_;  // of a step's rows
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_STEP_WORK_H_
