#ifndef HETERO_TENSOR_OPS_COUNTING_SORT_H_
#define HETERO_TENSOR_OPS_COUNTING_SORT_H_

#include <algorithm>
#include <bit>
#include <cstdint>

#include "hetero/base/rounding.h"

namespace hetero {

// A GPU's stable counting sort works on chunks of consecutive items: each counts its bins, and its
// items follow those of the chunks before it. Its scratch is i32 [NumSortChunks(items), bins].
inline constexpr int64_t kSortChunk = 1024;

constexpr int64_t NumSortChunks(int64_t num_items) { return CeilDiv(num_items, kSortChunk); }

// Keys in [0, num_keys) sorted digit by digit, the lowest first.
struct RadixPlan {
  explicit constexpr RadixPlan(int64_t num_keys)
      : num_passes(CeilDiv(KeyBits(num_keys), kMaxDigitBits)),
        digit_bits(CeilDiv(KeyBits(num_keys), num_passes)) {}

  constexpr int64_t num_bins() const { return int64_t{1} << digit_bits; }

  static constexpr int kMaxDigitBits = 9;
  static constexpr int KeyBits(int64_t num_keys) {
    return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(num_keys - 1))));
  }

  int num_passes;
  int digit_bits;
};

static_assert(RadixPlan(1).num_passes == 1 && RadixPlan(1).num_bins() == 2);
static_assert(RadixPlan(512).num_passes == 1 && RadixPlan(512).num_bins() == 512);
static_assert(RadixPlan(513).num_passes == 2 && RadixPlan(513).digit_bits == 5);

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_COUNTING_SORT_H_
