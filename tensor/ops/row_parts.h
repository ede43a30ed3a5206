#ifndef HETERO_TENSOR_OPS_ROW_PARTS_H_
#define HETERO_TENSOR_OPS_ROW_PARTS_H_

#include <algorithm>
#include <cstdint>

#include "hetero/base/rounding.h"

namespace hetero {

// How a GPU sums over many rows: in parts of consecutive rows, each by itself, then part after
// part. Extents alone fix the parts, so the same call gives the same bits.
struct RowParts {
  explicit RowParts(int64_t num_rows, int64_t min_rows_per_part = 8)
      : rows_per_part(std::max(min_rows_per_part, CeilDiv(num_rows, kMaxParts))),
        count(CeilDiv(num_rows, rows_per_part)) {}

  // Several blocks for each multiprocessor of the largest GPUs, and partial sums that stay small
  // beside the rows.
  static constexpr int64_t kMaxParts = 512;

  int64_t rows_per_part;
  int64_t count;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ROW_PARTS_H_
