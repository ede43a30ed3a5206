#ifndef HETERO_DATA_PACKING_ROW_H_
#define HETERO_DATA_PACKING_ROW_H_

// Encoded texts to a row of the language model: of one sample, or of several that do not see each
// other.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/conversation.h"

namespace hetero::data {

// A text with a token for each row that its images give.
struct ExpandedText {
  EncodedText text;
  int64_t num_images = 0;  // that are in it: the first ones
};

// Puts `image_tokens[i]` tokens at the place of image i, without labels, and cuts what goes beyond
// `max_length`; an image that is not whole is cut with its marker.
// Errors: INVALID_ARGUMENT naming both numbers unless the text has a marker for each image.
absl::StatusOr<ExpandedText> ExpandImages(const EncodedText& text, int32_t image_id,
                                          std::span<const int64_t> image_tokens,
                                          int64_t max_length);

// S positions.
struct PackedRow {
  std::vector<int32_t> ids;           // [S]
  std::vector<int32_t> labels;        // [S]: the next token of the same text, or kIgnoredLabel
  std::vector<float> loss_mask;       // [S]: 1 where the label counts
  std::vector<int64_t> position_ids;  // [S]: 0, 1, ...; texts do not begin anew
  // Borders of the texts from 0 to S, what fills the row up being one more; empty for one text.
  std::vector<int32_t> cu_seqlens;
  int32_t max_seqlen = 0;  // between two borders
};

// Errors: INVALID_ARGUMENT naming a text that is empty, or tokens that exceed the row.
absl::StatusOr<PackedRow> BuildRow(std::span<const EncodedText> texts, int64_t sequence_length,
                                   int32_t pad_id, int32_t image_id);

}  // namespace hetero::data

#endif  // HETERO_DATA_PACKING_ROW_H_
