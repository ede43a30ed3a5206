#ifndef HETERO_DATA_TEXT_REGEX_DIALECT_H_
#define HETERO_DATA_TEXT_REGEX_DIALECT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hetero::data {

// A regular expression of a Hugging Face tokenizer, which Oniguruma reads there in the syntax of
// Ruby, as PCRE2 means the same. Classes of Unicode are spelt out: \s is White_Space, \d is Nd, \w
// is Alphabetic, M, Nd and Pc; names in \p{} that are no general category are scripts.
// Errors: INVALID_ARGUMENT naming what the two read differently, and where it stands.
absl::StatusOr<std::string> ToPcre(std::string_view expression);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_REGEX_DIALECT_H_
