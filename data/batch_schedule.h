#ifndef HETERO_DATA_BATCH_SCHEDULE_H_
#define HETERO_DATA_BATCH_SCHEDULE_H_

// How many samples each step of a run has, when that grows in its course.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

// A pure function of the step, by which a run resumes anywhere.
class BatchSchedule {
 public:
  // Once the run has had so many samples, its steps have so many.
  struct Entry {
    int64_t from_sample = 0;
    int64_t batch_size = 0;

    friend bool operator==(const Entry&, const Entry&) = default;
  };

  // Steps of one size, one after the other.
  struct Phase {
    int64_t first_step = 0;
    int64_t first_sample = 0;
    int64_t batch_size = 0;

    friend bool operator==(const Phase&, const Phase&) = default;
  };

  // All steps alike. Precondition: batch_size > 0.
  explicit BatchSchedule(int64_t batch_size) : phases_({{.batch_size = batch_size}}) {}

  // A step has the size of the last entry that the samples before it have reached.
  // Errors: INVALID_ARGUMENT unless the first entry is from sample 0, the others come later and
  // later, and sizes are positive and never shrink.
  static absl::StatusOr<BatchSchedule> Make(std::span<const Entry> entries);

  // Precondition of all: numbers are not negative.

  int64_t SizeOf(int64_t step) const { return PhaseOf(step).batch_size; }

  // Samples of all steps before `step`.
  int64_t FirstSample(int64_t step) const;

  // The step that has the sample, counted over the run.
  int64_t StepOf(int64_t sample) const;

  // The fewest steps that together have so many samples.
  int64_t NumSteps(int64_t samples) const { return samples == 0 ? 0 : StepOf(samples - 1) + 1; }

  // In their order, sizes growing: at least one. What no step comes to has none.
  std::span<const Phase> phases() const { return phases_; }

  friend bool operator==(const BatchSchedule&, const BatchSchedule&) = default;

 private:
  explicit BatchSchedule(std::vector<Phase> phases) : phases_(std::move(phases)) {}

  const Phase& PhaseOf(int64_t step) const;

  std::vector<Phase> phases_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_BATCH_SCHEDULE_H_
