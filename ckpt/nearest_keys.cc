#include "hetero/ckpt/nearest_keys.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <tuple>

namespace hetero {
namespace {

// Small for keys that are alike.
std::tuple<int64_t, int64_t> Distance(std::string_view a, std::string_view b) {
  const auto size = std::min(a.size(), b.size());
  const auto prefix = std::mismatch(a.begin(), a.begin() + size, b.begin()).first - a.begin();
  const auto suffix = std::mismatch(a.rbegin(), a.rbegin() + size, b.rbegin()).first - a.rbegin();
  const int64_t common = std::min<int64_t>(prefix + suffix, static_cast<int64_t>(size));
  const auto lengths = static_cast<int64_t>(a.size() + b.size());
  return {lengths - 2 * common, std::abs(std::ssize(a) - std::ssize(b))};
}

}  // namespace

std::vector<std::string_view> NearestKeys(std::string_view key,
                                          std::span<const std::string_view> candidates,
                                          size_t count) {
  std::vector<std::string_view> nearest(candidates.begin(), candidates.end());
  const auto end = nearest.begin() + static_cast<std::ptrdiff_t>(std::min(count, nearest.size()));
  std::partial_sort(nearest.begin(), end, nearest.end(),
                    [&](std::string_view a, std::string_view b) {
                      return std::pair(Distance(key, a), a) < std::pair(Distance(key, b), b);
                    });
  nearest.erase(end, nearest.end());
  return nearest;
}

}  // namespace hetero
