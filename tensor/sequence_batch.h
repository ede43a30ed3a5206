#ifndef HETERO_TENSOR_SEQUENCE_BATCH_H_
#define HETERO_TENSOR_SEQUENCE_BATCH_H_

// What a microbatch looks like to the layers. Tokens of all sequences lie one after another in one
// dimension T; sizes that drive loops are on the host, what kernels index with is on the device.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/view.h"

namespace hetero {

// T = num_rows * row_length tokens, token t = row * row_length + position. A row is one sequence,
// or a pack of several.
struct SequenceBatch {
  int64_t num_rows = 0;
  int64_t row_length = 0;

  // Host, ascending from 0 to T: attention stays inside [cu_seqlens[i], cu_seqlens[i + 1]). Borders
  // of rows are always borders of sequences.
  std::span<const int32_t> cu_seqlens;

  // i32[T]: number of a token's sequence, non-decreasing; null when every row is one sequence.
  ConstTensorView sequence_index;

  int64_t num_tokens() const { return num_rows * row_length; }
};

// What kernels that walk the token dimension need of a batch; cu_seqlens are not looked at.
// Errors: INVALID_ARGUMENT unless the rows are not empty and make up `num_tokens`, and
// sequence_index is null or dense i32 [num_tokens].
absl::Status Validate(const SequenceBatch& sequences, int64_t num_tokens);

struct ImageSize {
  int32_t height = 0;  // pixels
  int32_t width = 0;

  bool operator==(const ImageSize&) const = default;
};

// N = sum over images of (height / P) * (width / P) patches, image after image, row-major inside an
// image; features of a patch in channel, row, column order.
struct ImageBatch {
  ConstTensorView patches;  // [N, 3 P P]
  std::span<const ImageSize> sizes;
};

namespace internal {

// Where sequences start, as CPU kernels read it. Precondition: validated.
struct SequenceStarts {
  explicit SequenceStarts(const SequenceBatch& sequences)
      : row_length(sequences.row_length),
        index(sequences.sequence_index.is_null() ? nullptr
                                                 : sequences.sequence_index.data<int32_t>()) {}

  // Whether token t is the first of its sequence.
  bool operator()(int64_t t) const {
    return t % row_length == 0 || (index != nullptr && index[t] != index[t - 1]);
  }

  int64_t row_length;
  const int32_t* index;
};

}  // namespace internal

}  // namespace hetero

#endif  // HETERO_TENSOR_SEQUENCE_BATCH_H_
