#ifndef HETERO_BASE_INDEX_RANGE_H_
#define HETERO_BASE_INDEX_RANGE_H_

// Consecutive indices: rows of a buffer, tokens of a sample.

#include <cstdint>

namespace hetero {

struct IndexRange {
  int64_t first = 0;
  int64_t count = 0;

  constexpr int64_t end() const { return first + count; }
  friend constexpr bool operator==(const IndexRange&, const IndexRange&) = default;
};

}  // namespace hetero

#endif  // HETERO_BASE_INDEX_RANGE_H_
