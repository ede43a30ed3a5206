#ifndef HETERO_CKPT_NEAREST_KEYS_H_
#define HETERO_CKPT_NEAREST_KEYS_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace hetero {

// The `count` candidates, or fewer, with the most letters at both ends like those of `key` and the
// fewest others between them, nearest first.
std::vector<std::string_view> NearestKeys(std::string_view key,
                                          std::span<const std::string_view> candidates,
                                          size_t count);

}  // namespace hetero

#endif  // HETERO_CKPT_NEAREST_KEYS_H_
