#ifndef HETERO_DATA_TEXT_BYTE_TOKENIZER_H_
#define HETERO_DATA_TEXT_BYTE_TOKENIZER_H_

// Text as its bytes: ids 0 to 255 are bytes, 256 ends a text, 511 stands for an image token; the
// vocabulary has 512 rows, so that its size divides by every small tensor-parallel degree.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/tokenizer.h"

namespace hetero::data {

class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kVocabularySize = 512;
  static constexpr int32_t kEnd = 256;
  static constexpr int32_t kImage = 511;

  int64_t vocabulary_size() const override { return kVocabularySize; }

  absl::Status Append(std::string_view text, std::vector<int32_t>& ids) const override;

  // The text of byte ids up to the first end, or up to the last id. An image token is no text.
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override;

  // "<image>", and "<end>" for the end of a text; text gives neither.
  std::optional<int32_t> Find(std::string_view token) const override;

  TokenBounds NumTokens(int64_t num_bytes) const override { return {num_bytes, num_bytes}; }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_BYTE_TOKENIZER_H_
