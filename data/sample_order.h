#ifndef HETERO_DATA_SAMPLE_ORDER_H_
#define HETERO_DATA_SAMPLE_ORDER_H_

// Which sample goes where: pure O(1) functions of the step, so that every layout trains on the
// same samples and a run resumes anywhere without state; or a sequence with rules of its own.

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/data/row_table.h"

namespace hetero::data {

// A permutation of [0, size) that depends on `key` alone: a Feistel network over the next power of
// two, walked until the value falls into range (Black and Rogaway 2002, cycle walking).
class Permutation {
 public:
  // Precondition: size > 0.
  Permutation(uint64_t size, uint64_t key);

  // Precondition: i < size. Expected time is constant: fewer than two walks.
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t Encrypt(uint64_t value) const;

  uint64_t size_;
  uint64_t key_;
  int low_bits_;
  int high_bits_;
};

// An order of its own that is no permutation. Thread safe.
class SampleSequence {
 public:
  virtual ~SampleSequence() = default;

  // The sample at a place of the run: whenever it is asked for the same, until the sequence is told
  // to go on elsewhere. Precondition: global_index >= 0.
  virtual int64_t IndexAt(int64_t global_index) = 0;
};

// Maps the position of a row in the whole run to the sample of the data set that it is, or to the
// samples that share it.
class SampleOrder {
 public:
  // Without end: epoch e visits all samples once, in an order of its own.
  // Errors: INVALID_ARGUMENT unless num_samples > 0.
  static absl::StatusOr<SampleOrder> Shuffled(int64_t num_samples, uint64_t seed);

  // Samples 0, 1, ..., num_samples - 1, then nothing: for evaluation.
  static absl::StatusOr<SampleOrder> OnePass(int64_t num_samples);

  // Without end, of rows: epoch e visits all of them once, in an order of its own.
  // Errors: INVALID_ARGUMENT for a table without rows.
  static absl::StatusOr<SampleOrder> Packed(std::shared_ptr<const RowTable> rows, uint64_t seed);

  // Without end, of rows as `sequence` has their numbers. Copies share it.
  // Errors: as the other.
  static absl::StatusOr<SampleOrder> Packed(std::shared_ptr<const RowTable> rows,
                                            std::shared_ptr<SampleSequence> sequence);

  // Without end, as `sequence` has the `num_samples` samples of a data set. Copies share it.
  static SampleOrder Following(std::shared_ptr<SampleSequence> sequence, int64_t num_samples);

  // Samples of a pass, or rows.
  int64_t num_samples() const { return num_samples_; }

  // Of a row the first sample; nullopt behind the end of one pass. Precondition: global_index >= 0.
  std::optional<int64_t> DatasetIndex(int64_t global_index) const;

  // None behind the end of one pass. Precondition: global_index >= 0.
  RowSamples RowAt(int64_t global_index) const;

 private:
  SampleOrder(int64_t num_samples, std::optional<uint64_t> seed)
      : num_samples_(num_samples), seed_(seed) {}

  // Number of a sample or a row.
  std::optional<int64_t> NumberAt(int64_t global_index) const;

  int64_t num_samples_;
  std::optional<uint64_t> seed_;
  std::shared_ptr<const RowTable> rows_;
  std::shared_ptr<SampleSequence> sequence_;
};

// Consecutive samples of the run.
struct SampleRange {
  int64_t begin = 0;
  int64_t size = 0;

  friend constexpr bool operator==(const SampleRange&, const SampleRange&) = default;
};

// How a step's samples are cut into microbatches. Every lane of every grid takes an equal
// consecutive share of each microbatch, so grids with different lane counts see the same samples.
struct BatchLayout {
  int64_t global_batch_size = 0;       // of the largest step
  int64_t samples_per_microbatch = 0;  // over all lanes: micro batch size times lanes
  // Of a run whose steps grow to that size, in whole microbatches; unset: all have it.
  std::optional<BatchSchedule> schedule = std::nullopt;

  // Whether the samples are whole microbatches. Precondition: both numbers are positive.
  bool Divides() const { return global_batch_size % samples_per_microbatch == 0; }

  // Of the largest step.
  int64_t NumMicrobatches() const { return global_batch_size / samples_per_microbatch; }

  // As BatchSchedule, here and below.
  int64_t FirstSample(int64_t step) const {
    return schedule.has_value() ? schedule->FirstSample(step) : step * global_batch_size;
  }
  int64_t StepOf(int64_t sample) const {
    return schedule.has_value() ? schedule->StepOf(sample) : sample / global_batch_size;
  }
  int64_t SizeOf(int64_t step) const { return FirstSample(step + 1) - FirstSample(step); }
};

// Errors: INVALID_ARGUMENT naming the numbers when sizes are not positive or do not divide.
absl::Status Validate(const BatchLayout& layout);

// A lane's place in its grid.
struct LanePosition {
  int64_t lane = 0;
  int64_t num_lanes = 1;
};

// Errors: INVALID_ARGUMENT unless 0 <= lane < num_lanes and num_lanes divides the microbatch.
absl::Status Validate(const BatchLayout& layout, const LanePosition& position);

// Samples of `microbatch` in `step` over all lanes.
SampleRange MicrobatchSamples(const BatchLayout& layout, int64_t step, int64_t microbatch);

// The part of them that `position` works on. Precondition: Validate passed.
SampleRange LaneSamples(const BatchLayout& layout, const LanePosition& position, int64_t step,
                        int64_t microbatch);

}  // namespace hetero::data

#endif  // HETERO_DATA_SAMPLE_ORDER_H_
