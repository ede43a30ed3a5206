#ifndef HETERO_DATA_TEXT_SENTENCEPIECE_TOKENIZER_H_
#define HETERO_DATA_TEXT_SENTENCEPIECE_TOKENIZER_H_

// A SentencePiece model, unigram or BPE, read by the SentencePiece library.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace hetero::data {

// Text gives the model's user-defined symbols where they are written, its control symbols nowhere.
// Bytes that are no UTF-8 are U+FFFD each.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // `model`: the contents of a ".model" file.
  // Errors: INVALID_ARGUMENT with what the library says.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> Create(std::string_view model);

  ~SentencePieceTokenizer() override;

  int64_t vocabulary_size() const override;
  absl::Status Append(std::string_view text, std::vector<int32_t>& ids) const override;

  // As the library decodes: blanks are what it made of them, control symbols are left out.
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override;

  std::optional<int32_t> Find(std::string_view token) const override;

  // Rules of a model may make any text of a character.
  TokenBounds NumTokens(int64_t num_bytes) const override;

 private:
  explicit SentencePieceTokenizer(std::unique_ptr<sentencepiece::SentencePieceProcessor> processor);

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_SENTENCEPIECE_TOKENIZER_H_
