#ifndef HETERO_CKPT_PLAN_COVERAGE_H_
#define HETERO_CKPT_PLAN_COVERAGE_H_

// Whether boxes have every element of a tensor once. Time: O(n log n) for boxes of a grid.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {

struct CoveringBox {
  Box box;
  std::string holder;  // for messages: "rank 3"
};

// Errors: INVALID_ARGUMENT naming `key` and a box outside of `shape`, two boxes that overlap and
// who holds them, or the first elements that no box has. A tensor without elements needs none.
absl::Status CheckCoverage(std::string_view key, std::span<const int64_t> shape,
                           std::span<const CoveringBox> boxes);

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_COVERAGE_H_
