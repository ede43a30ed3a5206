#ifndef HETERO_CKPT_NEAREST_KEYS_H_
#define HETERO_CKPT_NEAREST_KEYS_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace hetero {

// The `count` candidates, or fewer, with the most letters at both ends like those of `key` and the
// fewest others between them, nearest first. Linear in the length of keys, unlike NearestName: a
// load may ask for thousands of absent keys among tens of thousands.
std::vector<std::string_view> NearestKeys(std::string_view key,
                                          std::span<const std::string_view> candidates,
                                          size_t count);

}  // namespace hetero

#endif  // HETERO_CKPT_NEAREST_KEYS_H_
