#include "hetero/data/sample_order.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/counter_hash.h"

namespace hetero::data {
namespace {

// Four rounds make a strong pseudorandom permutation for large halves (Luby and Rackoff 1988);
// twice as many keep small data sets well mixed. Even, so that unequal halves end where they began.
constexpr int kRounds = 8;

constexpr uint64_t Mask(int bits) { return (uint64_t{1} << bits) - 1; }

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t key) : size_(size), key_(key) {
  const int bits = std::max(2, static_cast<int>(std::bit_width(size - 1)));
  low_bits_ = bits / 2;
  high_bits_ = bits - low_bits_;
}

uint64_t Permutation::Encrypt(uint64_t value) const {
  uint64_t high = value >> low_bits_;
  uint64_t low = value & Mask(low_bits_);
  int high_bits = high_bits_;
  int low_bits = low_bits_;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t mixed = high ^ (CounterHash(key_ + round, low) & Mask(high_bits));
    high = low;
    low = mixed;
    std::swap(high_bits, low_bits);
  }
  return high << low_bits | low;
}

uint64_t Permutation::operator()(uint64_t i) const {
  do {
    i = Encrypt(i);
  } while (i >= size_);
  return i;
}

absl::StatusOr<SampleOrder> SampleOrder::Shuffled(int64_t num_samples, uint64_t seed) {
  if (num_samples <= 0) return absl::InvalidArgumentError("the data set has no samples");
  return SampleOrder(num_samples, seed);
}

absl::StatusOr<SampleOrder> SampleOrder::OnePass(int64_t num_samples) {
  if (num_samples <= 0) return absl::InvalidArgumentError("the data set has no samples");
  return SampleOrder(num_samples, std::nullopt);
}

absl::StatusOr<SampleOrder> SampleOrder::Packed(std::shared_ptr<const RowTable> rows,
                                                uint64_t seed) {
  if (rows->num_rows() == 0) return absl::InvalidArgumentError("the data set has no rows");
  SampleOrder order(rows->num_rows(), seed);
  order.rows_ = std::move(rows);
  return order;
}

absl::StatusOr<SampleOrder> SampleOrder::Packed(std::shared_ptr<const RowTable> rows,
                                                std::shared_ptr<SampleSequence> sequence) {
  HETERO_ASSIGN_OR_RETURN(SampleOrder order, Packed(std::move(rows), /*seed=*/0));
  order.sequence_ = std::move(sequence);
  return order;
}

SampleOrder SampleOrder::Following(std::shared_ptr<SampleSequence> sequence, int64_t num_samples) {
  SampleOrder order(num_samples, std::nullopt);
  order.sequence_ = std::move(sequence);
  return order;
}

std::optional<int64_t> SampleOrder::DatasetIndex(int64_t global_index) const {
  const RowSamples row = RowAt(global_index);
  return row.size() == 0 ? std::nullopt : std::optional(row[0].index);
}

RowSamples SampleOrder::RowAt(int64_t global_index) const {
  const std::optional<int64_t> number = NumberAt(global_index);
  if (!number.has_value()) return RowSamples();
  return rows_ == nullptr ? RowSamples(*number) : RowSamples((*rows_)[*number]);
}

std::optional<int64_t> SampleOrder::NumberAt(int64_t global_index) const {
  if (sequence_ != nullptr) return sequence_->IndexAt(global_index);
  if (!seed_.has_value()) {
    if (global_index >= num_samples_) return std::nullopt;
    return global_index;
  }
  const auto size = static_cast<uint64_t>(num_samples_);
  const uint64_t epoch = static_cast<uint64_t>(global_index) / size;
  const uint64_t position = static_cast<uint64_t>(global_index) % size;
  return static_cast<int64_t>(Permutation(size, StreamOf(*seed_, epoch))(position));
}

absl::Status Validate(const BatchLayout& layout) {
  // Places of samples in a run of a million million steps still have a number.
  constexpr int64_t kMaxBatch = int64_t{1} << 22;
  if (layout.global_batch_size <= 0 || layout.samples_per_microbatch <= 0 ||
      layout.global_batch_size > kMaxBatch) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "global batch size %d and samples per microbatch %d must be positive, at most %d",
        layout.global_batch_size, layout.samples_per_microbatch, kMaxBatch));
  }
  if (!layout.Divides()) {
    const int64_t nearest =
        std::max<int64_t>(1, layout.global_batch_size / layout.samples_per_microbatch) *
        layout.samples_per_microbatch;
    return absl::InvalidArgumentError(absl::StrFormat(
        "global batch size %d is no multiple of the %d samples of a microbatch (micro batch size "
        "times lanes); %d would be",
        layout.global_batch_size, layout.samples_per_microbatch, nearest));
  }
  return absl::OkStatus();
}

absl::Status Validate(const BatchLayout& layout, const LanePosition& position) {
  if (absl::Status status = Validate(layout); !status.ok()) return status;
  if (position.num_lanes <= 0 || position.lane < 0 || position.lane >= position.num_lanes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("lane %d of %d does not exist", position.lane, position.num_lanes));
  }
  if (layout.samples_per_microbatch % position.num_lanes != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the %d samples of a microbatch do not divide over %d lanes; %d would",
                        layout.samples_per_microbatch, position.num_lanes,
                        std::max<int64_t>(1, layout.samples_per_microbatch / position.num_lanes) *
                            position.num_lanes));
  }
  return absl::OkStatus();
}

SampleRange MicrobatchSamples(const BatchLayout& layout, int64_t step, int64_t microbatch) {
  return {.begin = layout.FirstSample(step) + microbatch * layout.samples_per_microbatch,
          .size = layout.samples_per_microbatch};
}

SampleRange LaneSamples(const BatchLayout& layout, const LanePosition& position, int64_t step,
                        int64_t microbatch) {
  const SampleRange all = MicrobatchSamples(layout, step, microbatch);
  const int64_t share = all.size / position.num_lanes;
  return {.begin = all.begin + position.lane * share, .size = share};
}

}  // namespace hetero::data
