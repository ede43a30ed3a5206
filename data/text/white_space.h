#ifndef HETERO_DATA_TEXT_WHITE_SPACE_H_
#define HETERO_DATA_TEXT_WHITE_SPACE_H_

// White space of UTF-8 text: the Unicode property White_Space.

#include <string_view>

namespace hetero::data {

std::string_view WithoutLeadingSpace(std::string_view text);
std::string_view WithoutTrailingSpace(std::string_view text);

}  // namespace hetero::data

#endif  // HETERO_DATA_TEXT_WHITE_SPACE_H_
