#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_H_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_H_

// Backward attention in bf16 on the tensor cores of compute capability 9.0, for heads of 80 and
// 128.
//
// Work is the list of backward_tiles.h. A block of threads keeps the keys and values of a tile in
// shared memory and the sums of their gradients, over all queries of all heads of the group, in
// registers. For every block of queries it recomputes scores and probabilities, five products in
// all, and adds the gradients of the queries to an f32 buffer in memory. Those additions are in the
// order of the list, so the same call gives the same bits; they depend on the lengths of all
// segments of the call.
//
// Floor: 10 D operations for every pair of a query and a key it sees, on tensor cores. Every 64 or
// 128 rows of a head's queries are read and added to once for every 128 keys: with 128 rows, 40 D
// bytes out of or into the cache for 10 D operations of 128 keys. Before and after, o and d_o are
// read, the buffer is read and d_qkv written. Probabilities and the gradients of scores are rounded
// to bf16 where they enter a product, sums are f32.
//
// Rows of other segments in a block are read, and count only if they are not finite: a NaN or an
// infinity may reach a neighbouring segment.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/attention/backward_tiles.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

// Rows of queries in a block.
constexpr int HopperBlockRows(int64_t head_size) { return head_size == 128 ? 64 : 128; }

// Bounds of scratch over all ways to cut `tokens` into segments. 4 D + 8 bytes for every row of a
// head, and 4 for a row's turns.
struct HopperBackwardSizes {
  HopperBackwardSizes(int64_t head_size, int64_t tokens)
      : num_blocks(CeilDiv(tokens, HopperBlockRows(head_size))),
        num_rows(num_blocks * HopperBlockRows(head_size)),
        num_turns(num_blocks + tokens),
        num_tiles(tokens) {}

  static constexpr int64_t kTileInts = sizeof(BackwardTile) / sizeof(int32_t);

  int64_t num_blocks;
  int64_t num_rows;
  int64_t num_turns;  // of a head
  int64_t num_tiles;
};

// Preconditions: validated arguments in bf16, at least one token, a head size that suits, rows on
// 16-byte boundaries, such a device. Errors: INTERNAL; FAILED_PRECONDITION for an old driver.
absl::Status AttentionBackwardHopper(const AttentionBackwardArgs& args,
                                     const HopperBackwardScratch& scratch, Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_H_
