#ifndef HETERO_DATA_TEXT_LOAD_TOKENIZER_H_
#define HETERO_DATA_TEXT_LOAD_TOKENIZER_H_

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "hetero/data/text/tokenizer.h"

namespace hetero::data {

// The tokenizer of a file: "*.json" as Hugging Face writes it, or the "*.model" of SentencePiece;
// or of a folder with a "tokenizer.json" or else a "tokenizer.model".
// Errors name the file: NOT_FOUND, INVALID_ARGUMENT with field and rule.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const std::filesystem::path& path);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_LOAD_TOKENIZER_H_
