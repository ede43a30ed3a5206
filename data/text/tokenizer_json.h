#ifndef HETERO_DATA_TEXT_TOKENIZER_JSON_H_
#define HETERO_DATA_TEXT_TOKENIZER_JSON_H_

// The file "tokenizer.json" of Hugging Face's tokenizers, of byte-level vocabularies with BPE.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/text/added_tokens.h"
#include "hetero/data/text/pre_tokenizer.h"

namespace hetero::data {

struct TokenizerJson {
  struct Token {
    std::string name;   // as the file has it
    std::string bytes;  // that it stands for
    bool is_bytes;      // or it is none of the alphabet of bytes, and `bytes` is its name
    int32_t id;
  };

  std::vector<AddedToken> added_tokens;
  bool normalizes = false;  // to form C
  std::vector<SplitStage> stages;
  bool adds_prefix_space = false;
  std::vector<Token> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // of bytes
  bool ignores_merges = false;                              // for words that are tokens
};

// What a text is cut and padded to (truncation, padding) and what is put around it (post_processor)
// is the caller's: those fields are not read.
// Errors: INVALID_ARGUMENT naming field, value and rule: also for a kind of tokenizer that is not
// byte-level BPE.
absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view json);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_TOKENIZER_JSON_H_
