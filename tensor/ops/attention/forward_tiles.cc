#include "hetero/tensor/ops/attention/forward_tiles.h"

#include <algorithm>

namespace hetero::internal {

std::vector<ForwardTile> ForwardTiles(const AttentionShape& shape, int rows) {
  std::vector<ForwardTile> tiles;
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    const int32_t begin = shape.segments[s], end = shape.segments[s + 1];
    for (int32_t query = begin; query < end; query += rows) tiles.push_back({begin, end, query});
  }
  std::ranges::stable_sort(tiles, std::ranges::greater(), [&](const ForwardTile& tile) {
    return tile.KeyEnd(shape.causal, rows) - tile.segment_begin;
  });
  return tiles;
}

}  // namespace hetero::internal
