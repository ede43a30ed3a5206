#include "hetero/tensor/token_rows.h"

#include "absl/strings/str_cat.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status Validate(const TokenRows& rows, int64_t num_tokens) {
  if (rows.row_length <= 0 || num_tokens % rows.row_length != 0) {
    return absl::InvalidArgumentError(absl::StrCat("row_length is ", rows.row_length,
                                                   "; expected a divisor of the ", num_tokens,
                                                   " tokens"));
  }
  if (rows.seq_idx_T.is_null()) return absl::OkStatus();
  return ExpectDense("seq_idx", rows.seq_idx_T, DType::kI32, {num_tokens});
}

}  // namespace hetero
