#ifndef HETERO_TENSOR_OPS_ATTENTION_BACKWARD_TILES_H_
#define HETERO_TENSOR_OPS_ATTENTION_BACKWARD_TILES_H_

// The order of work of hopper_backward.h. Work is cut into tiles, one for every 128 keys of a
// segment and every group of query heads. A tile meets all queries that see its keys, one block of
// rows after the other, and adds to their gradients. For every block and head the tiles of its
// segment do so in turns, in the order of the list: a tile waits only for earlier ones.
//
// Blocks start at multiples of their size, also where a segment starts inside one.

#include <cstdint>
#include <vector>

#include "hetero/tensor/ops/attention/attention_shape.h"

namespace hetero::internal {

inline constexpr int kBackwardKeys = 128;  // of a tile

struct BackwardTile {
  int32_t segment_begin = 0;
  int32_t segment_end = 0;
  int32_t segment = 0;  // among those that are not empty
  int32_t key_begin = 0;
  int32_t turn_base = 0;
  int32_t turn_limit = 0;

  // Blocks of `rows` queries that the tile meets: [FirstBlock, EndBlock).
  constexpr int32_t FirstBlock(bool causal, int32_t rows) const {
    return (causal ? key_begin : segment_begin) / rows;
  }
  constexpr int32_t EndBlock(int32_t rows) const { return (segment_end - 1) / rows + 1; }

  // How many tiles of the segment precede this one in a block that ends before row `end`.
  constexpr int32_t TurnIn(int32_t end) const {
    const int32_t last = (end - 1 - segment_begin) / kBackwardKeys;  // tile that the rows may see
    return turn_base + (last < turn_limit ? last : turn_limit);
  }
};

// The tiles of all segments for one group. Groups follow each other at every tile.
// `block_rows`: of queries.
std::vector<BackwardTile> BackwardTiles(const AttentionShape& shape, int block_rows);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_BACKWARD_TILES_H_
