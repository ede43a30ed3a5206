#ifndef HETERO_DATA_TEXT_BYTE_TOKENIZER_H_
#define HETERO_DATA_TEXT_BYTE_TOKENIZER_H_

// Text as its bytes: ids 0 to 255 are bytes, 256 ends a text, 511 stands for an image token; the
// vocabulary has 512 rows, so that its size divides by every small tensor-parallel degree.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

class ByteTokenizer {
 public:
  static constexpr int32_t kVocabularySize = 512;
  static constexpr int32_t kEnd = 256;
  static constexpr int32_t kImage = 511;

  // Appends the ids of `text`, without an end.
  static void Append(std::string_view text, std::vector<int32_t>& ids);

  // The text of byte ids up to the first end, or up to the last id.
  // Errors: INVALID_ARGUMENT naming position and id for any other id.
  static absl::StatusOr<std::string> Decode(std::span<const int32_t> ids);
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_BYTE_TOKENIZER_H_
