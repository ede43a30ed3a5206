#ifndef HETERO_TENSOR_SEQUENCE_BATCH_H_
#define HETERO_TENSOR_SEQUENCE_BATCH_H_

// What a microbatch looks like to the layers. Tokens of all sequences lie one after another in one
// dimension T; sizes that drive loops are on the host, what kernels index with is on the device.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/view.h"

namespace hetero {

// T = num_rows * row_length tokens, token t = row * row_length + position. A row is one sequence,
// or a pack of several; it may end with padding, which no token before it sees.
struct SequenceBatch {
  int64_t num_rows = 0;
  int64_t row_length = 0;

  // Host, ascending from 0 to T: attention stays inside [cu_seqlens[i], cu_seqlens[i + 1]). Borders
  // of rows are always borders of sequences. Empty where no layer attends.
  std::span<const int32_t> cu_seqlens;

  // i32[T]: number of a token's sequence, non-decreasing; null when every row is one sequence.
  ConstTensorView sequence_index;

  // [num_rows + 1], ascending from 0: row r has token_offsets[r + 1] - token_offsets[r] tokens that
  // are not padding, its first. What sizes buffers is on the host, and the same i32 numbers are
  // where kernels read them. Empty and null: there is no padding.
  std::span<const int32_t> token_offsets;
  ConstTensorView device_token_offsets;

  int64_t num_tokens() const { return num_rows * row_length; }
  int64_t num_unpadded_tokens() const {
    return token_offsets.empty() ? num_tokens() : token_offsets.back();
  }
};

// Errors: INVALID_ARGUMENT unless the rows are not empty and make up `num_tokens`; cu_seqlens are
// empty or ascend from 0 to `num_tokens` over every border of rows, and over no other without
// sequence_index, because what walks the tokens would carry state from one sequence to the next;
// sequence_index is null or dense i32 [num_tokens]; token_offsets fit the rows on both sides.
absl::Status Validate(const SequenceBatch& sequences, int64_t num_tokens);

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
