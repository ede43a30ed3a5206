#ifndef HETERO_DATA_TEXT_HUGGING_FACE_TOKENIZER_H_
#define HETERO_DATA_TEXT_HUGGING_FACE_TOKENIZER_H_

// A byte-level vocabulary with BPE from a "tokenizer.json".

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/added_tokens.h"
#include "hetero/data/text/byte_pair.h"
#include "hetero/data/text/pre_tokenizer.h"
#include "hetero/data/text/tokenizer.h"

namespace hetero::data {

// Ids are those of Hugging Face's tokenizers with add_special_tokens=False. Bytes that are no UTF-8
// are read as U+FFFD (utf8.h). Added tokens are found in any text, special ones too.
class HuggingFaceTokenizer : public Tokenizer {
 public:
  // `json`: the file's contents (tokenizer_json.h).
  // Errors: INVALID_ARGUMENT naming field, value and rule.
  static absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>> Create(std::string_view json);

  int64_t vocabulary_size() const override { return vocabulary_size_; }
  absl::Status Append(std::string_view text, std::vector<int32_t>& ids) const override;

  // The bytes that the ids stand for: a cut of a text may begin or end inside a character.
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override;

  std::optional<int32_t> Find(std::string_view token) const override;
  TokenBounds NumTokens(int64_t num_bytes) const override;

 private:
  struct Parts {
    BytePair byte_pair;
    PreTokenizer pre_tokenizer;
    AddedTokenFinder as_written;  // added tokens of text before it is normalized
    AddedTokenFinder normalized;  // and after
  };

  explicit HuggingFaceTokenizer(Parts parts) : parts_(std::move(parts)) {}
  absl::Status AppendUtf8(std::string_view text, std::vector<int32_t>& ids) const;

  Parts parts_;
  bool normalizes_ = false;
  bool adds_prefix_space_ = false;
  int64_t vocabulary_size_ = 0;
  absl::flat_hash_map<std::string, int32_t> ids_;    // by name
  absl::flat_hash_map<int32_t, std::string> bytes_;  // by id
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_HUGGING_FACE_TOKENIZER_H_
