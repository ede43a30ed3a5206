#ifndef HETERO_DATA_TEXT_UTF8_H_
#define HETERO_DATA_TEXT_UTF8_H_

// UTF-8 as the Unicode Standard defines it, chapter 3.9: no surrogates, no overlong forms.

#include <cstddef>
#include <string>
#include <string_view>

namespace hetero::data {

// Bytes of the character at the front of `text`; 0 where no character begins. Precondition: text is
// not empty.
size_t CharacterLength(std::string_view text);

// `text` itself where it is UTF-8. Else a copy in `storage`, in which each maximal part of a
// character (the Standard's "substitution of maximal subparts") has become U+FFFD, as Python's
// bytes.decode("utf-8", "replace") has it.
std::string_view ToUtf8(std::string_view text, std::string& storage);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_UTF8_H_
