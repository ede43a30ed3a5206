#include "hetero/tensor/sequence_batch.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status ValidateBorders(const SequenceBatch& sequences) {
  const int64_t length = sequences.row_length;
  int64_t next_row = 0;  // whose border was not met
  int64_t before = 0;
  for (const int32_t border : sequences.cu_seqlens) {
    if (border < before || border > next_row * length) {
      return absl::InvalidArgumentError(
          absl::StrCat("cu_seqlens has ", border, " behind ", before,
                       "; expected numbers that ascend from 0 to ", sequences.num_tokens(),
                       " over every multiple of ", length, ", the row length"));
    }
    if (border % length != 0 && sequences.sequence_index.is_null()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "cu_seqlens has ", border, ", inside row ", border / length,
          ", and sequence_index is null; give every token the number of its sequence, or state "
          "passes from one sequence to the next"));
    }
    if (border == next_row * length) ++next_row;
    before = border;
  }
  if (sequences.cu_seqlens.empty() || before == sequences.num_tokens()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cu_seqlens ends at ", before, "; expected ",
                                                 sequences.num_tokens(), ", the tokens"));
}

absl::Status ValidateTokenOffsets(const SequenceBatch& sequences) {
  const std::span<const int32_t> offsets = sequences.token_offsets;
  if (offsets.empty() && sequences.device_token_offsets.is_null()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(ExpectDense("device_token_offsets", sequences.device_token_offsets,
                                     DType::kI32, {sequences.num_rows + 1}));
  if (static_cast<int64_t>(offsets.size()) != sequences.num_rows + 1 || offsets[0] != 0) {
    return absl::InvalidArgumentError(absl::StrCat("token_offsets has ", offsets.size(),
                                                   " numbers; expected ", sequences.num_rows + 1,
                                                   " from 0, as device_token_offsets"));
  }
  for (size_t r = 0; r + 1 < offsets.size(); ++r) {
    const int64_t count = int64_t{offsets[r + 1]} - offsets[r];
    if (count >= 0 && count <= sequences.row_length) continue;
    return absl::InvalidArgumentError(absl::StrCat("token_offsets gives row ", r, " ", count,
                                                   " tokens; expected 0 to ",
                                                   sequences.row_length));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const SequenceBatch& sequences, int64_t num_tokens) {
  if (sequences.row_length < 1 || sequences.num_rows < 0 || sequences.num_tokens() != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("sequences are ", sequences.num_rows,
                                                   " rows of ", sequences.row_length,
                                                   " tokens; expected ", num_tokens, " tokens"));
  }
  HETERO_RETURN_IF_ERROR(ValidateBorders(sequences));
  HETERO_RETURN_IF_ERROR(ValidateTokenOffsets(sequences));
  if (sequences.sequence_index.is_null()) return absl::OkStatus();
  return ExpectDense("sequence_index", sequences.sequence_index, DType::kI32, {num_tokens});
}

}  // namespace hetero
