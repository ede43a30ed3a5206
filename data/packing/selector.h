#ifndef HETERO_DATA_PACKING_SELECTOR_H_
#define HETERO_DATA_PACKING_SELECTOR_H_

// Which samples share a row.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

// A sample as a row has it: cut to the sequence length, images expanded to their tokens.
struct PackItem {
  int64_t length = 0;  // tokens
  int64_t num_patches = 0;
  int64_t num_images = 0;

  bool operator==(const PackItem&) const = default;
};

// Of a row.
struct PackLimits {
  int64_t length = 0;
  int64_t num_patches = 0;  // 0, here and below: any number
  int64_t num_images = 0;
};

// Whether a row of these limits, or what is left of it, has room. A limit of 0 is none.
bool Fits(const PackItem& item, const PackLimits& limits);

// Places of items, a list for each row.
using PackGroups = std::vector<std::vector<size_t>>;

// Fills a row after the other, each time with the longest item that still fits: of equally long
// ones with the last. Errors: INVALID_ARGUMENT naming an item that no row can hold.
absl::StatusOr<PackGroups> SelectGreedy(std::span<const PackItem> items, const PackLimits& limits);

// Spreads items, the longest first, over as many rows as their tokens fill and `extra_rows` more:
// each into the emptiest row that can hold it, of equally empty ones into the first, or else into a
// new one. Groups may be empty. An item that no row can hold is in none.
PackGroups SelectBalanced(std::span<const PackItem> items, const PackLimits& limits,
                          int64_t extra_rows);

}  // namespace hetero::data

#endif  // HETERO_DATA_PACKING_SELECTOR_H_
