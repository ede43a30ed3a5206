#ifndef HETERO_DATA_PACKING_PACKER_H_
#define HETERO_DATA_PACKING_PACKER_H_

// Samples of a stream to rows, some at a time: a pure function of the stream.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/packing/selector.h"

namespace hetero::data {

struct PackerOptions {
  PackLimits limits;
  // Samples that are held at once, read and selected together.
  int64_t buffer_size = 128;
  // Groups the samples of a full buffer, at the end of the stream of what is left. What is in no
  // group is lost.
  std::function<absl::StatusOr<PackGroups>(std::span<const PackItem>)> select;
  // A group with fewer tokens than this share of a row goes back to the buffer, unless it is the
  // fullest of its selection, or one of its samples has been put back `max_returns` times. 0: none
  // does, as in Megatron-Energon.
  double min_fill = 0;
  int64_t max_returns = 8;
};

// A sample of the stream.
struct PackedSample {
  int64_t number = 0;  // in the stream, from 0
  PackItem item;
  int64_t num_returns = 0;  // to the buffer

  bool operator==(const PackedSample&) const = default;
};

using PackedGroup = std::vector<PackedSample>;

// All that a packer knows: packers with the same state, options and rest of the stream do the same.
struct PackerState {
  int64_t num_samples = 0;  // taken from the stream
  std::vector<PackedSample> reading;
  std::vector<PackedGroup> selected;
  int64_t num_rows = 0;    // given
  int64_t num_tokens = 0;  // in them
  int64_t num_lost = 0;    // samples that were in no group

  bool operator==(const PackerState&) const = default;

  // Of the places in the rows so far, the share with a token. 1 before the first row.
  double FillRate(const PackLimits& limits) const {
    if (num_rows == 0) return 1;
    return static_cast<double>(num_tokens) / static_cast<double>(num_rows * limits.length);
  }
};

class Packer {
 public:
  // The next sample of the stream; nothing at its end, then and ever after.
  using Source = absl::AnyInvocable<absl::StatusOr<std::optional<PackItem>>()>;

  // `state`: where to go on; the source begins behind its num_samples.
  // Precondition: options.select is set, buffer_size and limits.length are positive.
  Packer(PackerOptions options, Source source, PackerState state = {});

  const PackerState& state() const { return state_; }

  // The samples of the next row in the order in which they stand in it; nothing at the end.
  // Errors: those of the source and of the selector; INTERNAL for a selector that gives a sample
  // twice; FAILED_PRECONDITION for one that more than 100 times running gives none.
  absl::StatusOr<std::optional<PackedGroup>> Next();

 private:
  absl::Status Fill();
  absl::Status Select();
  void PutBack();

  PackerOptions options_;
  Source source_;
  PackerState state_;
  bool at_end_ = false;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_PACKING_PACKER_H_
