#ifndef HETERO_TENSOR_OPS_ATTENTION_FORWARD_TILES_H_
#define HETERO_TENSOR_OPS_ATTENTION_FORWARD_TILES_H_

// The order of work of hopper_forward.h: a tile for every `rows` queries of a segment, those with
// the most keys first, since blocks of threads take one after the other and the last ones should be
// short. Each is worked on once for every head.

#include <cstdint>
#include <vector>

#include "hetero/tensor/ops/attention/attention_shape.h"

namespace hetero::internal {

struct ForwardTile {
  int32_t segment_begin = 0;
  int32_t segment_end = 0;
  int32_t query_begin = 0;

  // Keys that the tile's queries see: [segment_begin, KeyEnd).
  constexpr int32_t KeyEnd(bool causal, int32_t rows) const {
    return causal && query_begin + rows < segment_end ? query_begin + rows : segment_end;
  }
  // Steps of `keys`.
  constexpr int32_t NumSteps(bool causal, int32_t rows, int32_t keys) const {
    return (KeyEnd(causal, rows) - segment_begin + keys - 1) / keys;
  }
};

std::vector<ForwardTile> ForwardTiles(const AttentionShape& shape, int rows);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_FORWARD_TILES_H_
