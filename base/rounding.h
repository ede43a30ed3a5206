#ifndef HETERO_BASE_ROUNDING_H_
#define HETERO_BASE_ROUNDING_H_

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace hetero {

// How many groups of `size` hold `count` things. Precondition: count >= 0, size >= 1.
template <std::integral T>
constexpr T CeilDiv(T count, std::type_identity_t<T> size) {
  return count / size + (count % size != 0);
}

// The least multiple of `unit` that is not below `value`. Precondition: value >= 0, unit >= 1.
template <std::integral T>
constexpr T RoundUp(T value, std::type_identity_t<T> unit) {
  return CeilDiv(value, unit) * unit;
}

static_assert(CeilDiv(0, 4) == 0 && CeilDiv(1, 4) == 1 && CeilDiv(4, 4) == 1 && CeilDiv(5, 4) == 2);
static_assert(CeilDiv(std::numeric_limits<int64_t>::max(), 2) == int64_t{1} << 62);
static_assert(RoundUp(0, 4) == 0 && RoundUp(1, 4) == 4 && RoundUp(8, 4) == 8);

}  // namespace hetero

#endif  // HETERO_BASE_ROUNDING_H_
