#ifndef HETERO_DATA_TEXT_BYTE_ALPHABET_H_
#define HETERO_DATA_TEXT_BYTE_ALPHABET_H_

// The printable characters that stand for bytes in the files of byte-level vocabularies: a byte
// that is a visible character of Latin-1 stands for itself, the other 68 in ascending order for
// U+0100 and what follows (GPT-2, Radford et al., 2019).

#include <optional>
#include <string>
#include <string_view>

namespace hetero::data {

// The bytes that the characters of `token` stand for; nothing where one stands for none.
std::optional<std::string> BytesOfToken(std::string_view token);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_BYTE_ALPHABET_H_
