#ifndef HETERO_TENSOR_TOKEN_ROWS_H_
#define HETERO_TENSOR_TOKEN_ROWS_H_

// How sequences lie in a packed token dimension T: T is a whole number of rows of `row_length`
// tokens. A row holds one sequence, or several one after the other when `seq_idx_T` numbers them.
// No sequence continues in the next row.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct TokenRows {
  int64_t row_length = 0;
  // i32 [T] segment numbers, equal for the tokens of one sequence and for no others of the row;
  // null: one sequence a row. On the stream's device.
  ConstTensorView seq_idx_T;
};

// Errors: INVALID_ARGUMENT unless row_length is positive and divides num_tokens and seq_idx_T is
// null or dense i32 [num_tokens].
absl::Status Validate(const TokenRows& rows, int64_t num_tokens);

namespace internal {

// TokenRows as CPU kernels read it.
struct SequenceStarts {
  explicit SequenceStarts(const TokenRows& rows)
      : row_length(rows.row_length),
        seq_idx(rows.seq_idx_T.is_null() ? nullptr : rows.seq_idx_T.data<int32_t>()) {}

  // Whether token t is the first of its sequence.
  bool operator()(int64_t t) const {
    return t % row_length == 0 || (seq_idx != nullptr && seq_idx[t] != seq_idx[t - 1]);
  }

  int64_t row_length;
  const int32_t* seq_idx;
};

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_TOKEN_ROWS_H_
