#ifndef HETERO_DATA_TEXT_ADDED_TOKENS_H_
#define HETERO_DATA_TEXT_ADDED_TOKENS_H_

// Tokens that are found in text as they are written, before anything else reads it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/text/regex.h"

namespace hetero::data {

struct AddedToken {
  std::string content;  // not empty
  int32_t id = 0;
  bool single_word = false;  // not where a character of a word stands beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is found in normalized text
  bool special = false;
};

// Finds a set of tokens, of several that begin at one place the longest. Does not change once it is
// made; any number of threads use it.
class AddedTokenFinder {
 public:
  static absl::StatusOr<AddedTokenFinder> Create(std::vector<AddedToken> tokens);

  // Calls `between` with the text between tokens, which is not empty, and `token` with tokens, in
  // order. Precondition: `text` is UTF-8.
  // Errors: those of `between` and of Regex::Find.
  absl::Status Run(std::string_view text, Regex::Scratch& scratch,
                   absl::FunctionRef<absl::Status(std::string_view)> between,
                   absl::FunctionRef<void(int32_t id)> token) const;

 private:
  // A part of a text.
  struct Range {
    size_t begin;
    size_t end;
  };

  AddedTokenFinder(std::vector<AddedToken> tokens, Regex word);

  // The longest token at the front of `text`; null where there is none.
  const AddedToken* At(std::string_view text) const;

  // What a token in `text` takes of it; nothing where it may not stand there.
  absl::StatusOr<std::optional<Range>> Extent(const AddedToken& token, std::string_view text,
                                              Range range, Regex::Scratch& scratch) const;

  absl::flat_hash_map<std::string, AddedToken> tokens_;  // by content
  // Of each first byte, the sizes of the tokens that begin with it, falling.
  std::array<std::vector<size_t>, 256> sizes_;
  Regex word_;  // a character of a word
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_ADDED_TOKENS_H_
