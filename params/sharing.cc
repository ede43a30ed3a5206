#include "hetero/params/sharing.h"

#include <algorithm>
#include <cstddef>

namespace hetero {
namespace {

bool IsDividedOver(const ParameterSpec& spec, ShardAxis axis) {
  return std::ranges::any_of(spec.dims, [&](const DimSharding& dim) { return dim.axis == axis; });
}

// Adds a run for every row of the box: `like` says who holds it. Trailing dims that the box spans
// are part of its rows.
void AddRows(const std::vector<int64_t>& shape, const ShardBox& box, SharedRun like,
             std::vector<SharedRun>& runs) {
  size_t outer_dims = shape.size();
  like.count = 1;
  while (outer_dims > 0) {
    --outer_dims;
    like.count *= box.extent[outer_dims];
    if (box.extent[outer_dims] != shape[outer_dims]) break;
  }
  int64_t num_rows = 1;
  for (size_t d = 0; d < outer_dims; ++d) num_rows *= box.extent[d];
  if (like.count == 0) return;
  for (int64_t row = 0; row < num_rows; ++row) {
    int64_t rest = row;
    int64_t stride = 1;
    like.begin = 0;
    for (size_t d = shape.size(); d-- > 0;) {
      int64_t index = box.local_begin[d];
      if (d < outer_dims) {
        index += rest % box.extent[d];
        rest /= box.extent[d];
      }
      like.begin += index * stride;
      stride *= shape[d];
    }
    runs.push_back(like);
  }
}

}  // namespace

std::vector<SharedRun> SharedRuns(const ParameterSpec& spec, const Shard& shard) {
  // What several ranks hold of a dim that tp divides is a whole block, and each of them has used
  // it with its own slices of the others.
  const bool partial = spec.partial_over_tp || IsDividedOver(spec, ShardAxis::kTp);
  std::vector<SharedRun> rows;
  for (const ShardBox& box : shard.boxes) {
    AddRows(
        shard.shape, box,
        {.replica = box.replica, .replicas = box.replicas, .partial = partial && box.replicas > 1},
        rows);
  }
  std::ranges::sort(rows, {}, &SharedRun::begin);
  std::vector<SharedRun> runs;
  for (const SharedRun& row : rows) {
    if (!runs.empty() && runs.back().replica == row.replica &&
        runs.back().replicas == row.replicas && runs.back().partial == row.partial) {
      runs.back().count += row.count;
    } else {
      runs.push_back(row);
    }
  }
  return runs;
}

}  // namespace hetero
