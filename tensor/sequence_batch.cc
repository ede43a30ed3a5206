#include "hetero/tensor/sequence_batch.h"

#include "absl/strings/str_cat.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status Validate(const SequenceBatch& sequences, int64_t num_tokens) {
  if (sequences.row_length < 1 || sequences.num_rows < 0 || sequences.num_tokens() != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("sequences are ", sequences.num_rows,
                                                   " rows of ", sequences.row_length,
                                                   " tokens; expected ", num_tokens, " tokens"));
  }
  if (sequences.sequence_index.is_null()) return absl::OkStatus();
  return ExpectDense("sequence_index", sequences.sequence_index, DType::kI32, {num_tokens});
}

}  // namespace hetero
