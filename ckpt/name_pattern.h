#ifndef HETERO_CKPT_NAME_PATTERN_H_
#define HETERO_CKPT_NAME_PATTERN_H_

#include <string_view>

namespace hetero {

// "*" stands for any text, "?" for any character.
bool MatchesPattern(std::string_view text, std::string_view pattern);

}  // namespace hetero

#endif  // HETERO_CKPT_NAME_PATTERN_H_
