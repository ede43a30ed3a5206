#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_TILE_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_TILE_CUH_

// What the warps of hopper_backward.cuh share: sizes, operands, shared memory and the list of
// tiles.

#include <cuda.h>

#include <cstdint>

#include "hetero/tensor/ops/attention/backward_tiles.h"
#include "hetero/tensor/ops/hopper/products.cuh"

namespace hetero::internal {

inline constexpr int kMathGroups = 2;  // each has half of a tile's keys
inline constexpr int kGroupThreads = 4 * cuda::kWarpSize;
inline constexpr int kMathThreads = kMathGroups * kGroupThreads;
inline constexpr int kMathWarps = kMathThreads / cuda::kWarpSize;
inline constexpr int kBackwardThreads = kMathThreads + kGroupThreads;

// Warps that add gradients of queries. They take steps in turns, because what one waits for after
// a copy takes longer than a step.
inline constexpr int kAddingWarps = 2;

// Rows of queries in a block: what registers allow.
template <int kHeadSize>
inline constexpr int kBlockRows = kHeadSize == 128 ? 64 : 128;

template <int kHeadSize, bool kCausalMask>
struct Backward {
  static constexpr int kSize = kHeadSize;
  static constexpr bool kCausal = kCausalMask;
  static constexpr int kRows = kBlockRows<kHeadSize>;
  using Keys = Panels<kBackwardKeys, kSize>;
  using Queries = Panels<kRows, kSize>;
  using ScoreGradients = Panels<kBackwardKeys, kRows>;

  // A thread's, of a group's scores and of its gradients of keys and queries. The groups share the
  // latter by rows, or by columns if there are but 64 rows.
  static constexpr int kScores = 64 * kRows / kGroupThreads;
  static constexpr int kPairs = kScores / 2;
  static constexpr int kKeySums = 64 * kSize / kGroupThreads;
  static constexpr bool kSharesRows = kRows == 128;
  static constexpr int kQueryColumns = kSharesRows ? kSize : kSize / 2;
  static constexpr int kQuerySums = 64 * kQueryColumns / kGroupThreads;
  static constexpr int kQueryPart = kQuerySums * kGroupThreads;  // of a group

  // Whether registers allow that the last product of a step runs into the next one.
  static constexpr bool kOverlaps = kSize == 128;
};

struct BackwardMaps {
  CUtensorMap queries;  // boxes of a block's rows
  CUtensorMap keys;     // of a tile's, values too
  CUtensorMap d_out;
};

struct BackwardProblem {
  const BackwardTile* tiles;
  const float* statistics;  // [heads, blocks, 2, rows]: log-sum-exp, in bits, and Σ o d_o
  float* d_queries;         // [heads, blocks, elements], as threads have them
  uint32_t* turns;          // [heads, turns_of_head]: tiles that added to a segment's block
  uint32_t* next;           // index in the list
  __nv_bfloat16* d_qkv;
  int64_t d_qkv_stride;
  int num_tiles, num_groups, heads_per_group;
  int num_blocks, turns_of_head;
  float scale;
  float scale_in_bits;  // times log2 e

  __host__ __device__ int slots() const { return heads_per_group + 2; }  // of a group in a row
};

// The blocks of queries [first, end) that a tile meets, once for each head.
struct BlockRange {
  int first, end;

  template <typename B>
  __device__ static BlockRange Of(const BackwardTile& tile) {
    return {tile.FirstBlock(B::kCausal, B::kRows), tile.EndBlock(B::kRows)};
  }
  // Those whose rows all see all keys of the tile.
  template <typename B>
  __device__ static BlockRange Unmasked(const BackwardTile& tile) {
    const int from = B::kCausal ? tile.key_begin + kBackwardKeys - 1 : tile.segment_begin;
    const bool whole = tile.key_begin + kBackwardKeys <= tile.segment_end;
    return {(from + B::kRows - 1) / B::kRows, whole ? tile.segment_end / B::kRows : 0};
  }
  __device__ int count() const { return end - first; }
};

// The tile that is worked on. Loading may be one ahead, so there are two. In shared memory rather
// than in registers, which are short.
struct TileSlot {
  BackwardTile tile;
  int group;  // -1: the list is done
  int num_steps;
  BlockRange blocks, unmasked;

  __device__ bool IsMasked(int block) const {
    return block < unmasked.first || block >= unmasked.end;
  }
};

template <typename B>
struct BackwardShared {
  alignas(1024) __nv_bfloat16 keys[B::Keys::kSize];
  alignas(1024) __nv_bfloat16 values[B::Keys::kSize];
  alignas(1024) __nv_bfloat16 queries[2][B::Queries::kSize];
  alignas(1024) __nv_bfloat16 d_out[2][B::Queries::kSize];
  alignas(1024) __nv_bfloat16 d_scores[2][B::ScoreGradients::kSize];  // rows are keys
  alignas(1024) float d_queries[kMathGroups][B::kQueryPart];
  alignas(128) float4 statistics[2][B::kRows / 2];
  TileSlot slots[2];
  uint64_t slot_full[2], slot_empty[2];
  uint64_t keys_full, keys_empty;
  uint64_t queries_full[2], queries_empty[2];  // empty: statistics too
  uint64_t statistics_full[2];
  uint64_t d_out_full[2], d_out_empty[2];
  uint64_t d_queries_full[2][kMathGroups];  // of a writer's next step
  uint64_t d_queries_empty[kMathGroups];
};

template <typename B>
__device__ void InitBarriers(BackwardShared<B>& shared) {
  const auto init_both = [](uint64_t(&barriers)[2], int count) {
    for (uint64_t& barrier : barriers) ptx::mbarrier_init(&barrier, count);
  };
  init_both(shared.slot_full, 1);
  init_both(shared.slot_empty, kMathThreads + kAddingWarps + cuda::kWarpSize);
  ptx::mbarrier_init(&shared.keys_full, 1);
  ptx::mbarrier_init(&shared.keys_empty, kMathThreads);
  init_both(shared.queries_full, 1);
  init_both(shared.statistics_full, cuda::kWarpSize);
  init_both(shared.queries_empty, kMathThreads);
  init_both(shared.d_out_full, 1);
  init_both(shared.d_out_empty, kMathThreads);
  for (auto& stage : shared.d_queries_full) init_both(stage, kGroupThreads);
  init_both(shared.d_queries_empty, 1);
  ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
}

// The slot of the block's `count`-th tile; null after the last one.
template <typename B>
__device__ const TileSlot* NextSlot(BackwardShared<B>& shared, uint32_t count) {
  Wait(&shared.slot_full[Stage(count)], Parity(count));
  const TileSlot& slot = shared.slots[Stage(count)];
  return slot.group < 0 ? nullptr : &slot;
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_TILE_CUH_
