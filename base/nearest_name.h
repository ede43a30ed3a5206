#ifndef HETERO_BASE_NEAREST_NAME_H_
#define HETERO_BASE_NEAREST_NAME_H_

#include <span>
#include <string_view>

namespace hetero {

// The candidate that `name` may be a slip of: the one with the smallest Levenshtein distance, the
// earliest of several. Empty when none is close, at most a third of its letters and one at least.
std::string_view NearestName(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace hetero

#endif  // HETERO_BASE_NEAREST_NAME_H_
