#ifndef HETERO_TRAINER_NEAREST_NAME_H_
#define HETERO_TRAINER_NEAREST_NAME_H_

#include <span>
#include <string_view>

namespace hetero {

// The candidate with the smallest Levenshtein distance to `name`, the earliest of several; empty
// when there is none.
std::string_view NearestName(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace hetero

#endif  // HETERO_TRAINER_NEAREST_NAME_H_
