#include "hetero/data/text/byte_tokenizer.h"

#include "absl/strings/str_format.h"

namespace hetero::data {

absl::Status ByteTokenizer::Append(std::string_view text, std::vector<int32_t>& ids) const {
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ByteTokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size() && ids[i] != kEnd; ++i) {
    if (ids[i] < 0 || ids[i] > 255) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "id %d at position %d is no byte (0 to 255) and no end (%d)", ids[i], i, kEnd));
    }
    text.push_back(static_cast<char>(ids[i]));
  }
  return text;
}

std::optional<int32_t> ByteTokenizer::Find(std::string_view token) const {
  if (token == "<image>") return kImage;
  if (token == "<end>") return kEnd;
  return std::nullopt;
}

}  // namespace hetero::data
