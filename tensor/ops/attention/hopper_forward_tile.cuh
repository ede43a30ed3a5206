#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_TILE_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_TILE_CUH_

// What the warps of hopper_forward.cuh share: sizes, operands and shared memory, and what the warp
// that loads does.

#include <cuda.h>

#include <cstdint>

#include "hetero/tensor/ops/attention/forward_tiles.h"
#include "hetero/tensor/ops/hopper/products.cuh"
#include "hetero/tensor/ops/hopper/rows.cuh"

namespace hetero::internal {

inline constexpr int kGroupOfWarps = 4 * cuda::kWarpSize;  // threads

template <int kHeadSize, bool kCausalMask>
struct Forward {
  static constexpr int kSize = kHeadSize;
  static constexpr bool kCausal = kCausalMask;
  static constexpr int kGroups = kSize == 80 ? 3 : 2;  // that multiply, 64 queries each
  static constexpr int kRows = 64 * kGroups;
  static constexpr int kKeys = kSize == 80 ? 112 : 128;  // of a step: what registers allow
  static constexpr int kMathThreads = kGroups * kGroupOfWarps;
  static constexpr int kThreads = kMathThreads + kGroupOfWarps;
  // Of a thread; together what a multiprocessor has.
  static constexpr int kMathRegisters = kGroups == 3 ? 160 : 240;
  static constexpr int kOtherRegisters = kGroups == 3 ? 32 : 24;
  using Queries = Panels<kRows, kSize>;
  using Keys = Panels<kKeys, kSize>;

  // Of a thread.
  static constexpr int kScores = 64 * kKeys / kGroupOfWarps;
  static constexpr int kPairs = kScores / 2;
  static constexpr int kSums = 64 * kSize / kGroupOfWarps;
};

struct ForwardMaps {
  CUtensorMap queries;  // boxes of a tile's rows
  CUtensorMap keys;     // of a step's, values too
};

struct ForwardProblem {
  const ForwardTile* tiles;
  uint32_t* next;  // index in the list times heads
  __nv_bfloat16* o;
  int64_t o_stride;
  float* lse;  // [heads, tokens]
  int64_t tokens;
  int num_tiles, heads, heads_per_group;
  float scale_in_bits;  // times log2 e
};

// The tile that is worked on. Loading may be one ahead, so there are two.
struct ForwardSlot {
  ForwardTile tile;
  int head;  // -1: the list is done
  int num_steps;
};

template <typename F>
struct ForwardShared {
  alignas(1024) __nv_bfloat16 queries[2][F::Queries::kSize];
  alignas(1024) __nv_bfloat16 keys[2][F::Keys::kSize];
  alignas(1024) __nv_bfloat16 values[2][F::Keys::kSize];
  alignas(128) unsigned char staging[F::kMathThreads / cuda::kWarpSize][kStagedBytes];
  ForwardSlot slots[2];
  uint64_t slot_full[2], slot_empty[2];  // queries too
  uint64_t queries_full[2];
  uint64_t keys_full[2], keys_empty[2];
  uint64_t values_full[2], values_empty[2];
};

template <typename F>
__device__ void InitBarriers(ForwardShared<F>& shared) {
  for (int stage = 0; stage < 2; ++stage) {
    for (uint64_t* const full : {&shared.slot_full[stage], &shared.queries_full[stage],
                                 &shared.keys_full[stage], &shared.values_full[stage]}) {
      ptx::mbarrier_init(full, 1);
    }
    for (uint64_t* const empty :
         {&shared.slot_empty[stage], &shared.keys_empty[stage], &shared.values_empty[stage]}) {
      ptx::mbarrier_init(empty, F::kMathThreads);
    }
  }
  ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
}

// Takes the next tile of the list into the slot of the block's `count`-th, which is free.
template <typename F>
__device__ bool TakeTile(ForwardShared<F>& shared, const ForwardProblem& problem, uint32_t count) {
  ForwardSlot& slot = shared.slots[Stage(count)];
  const int index = static_cast<int>(atomicAdd(problem.next, 1));
  const int tile = index / problem.heads;
  const bool is_tile = tile < problem.num_tiles;
  if (is_tile) {
    slot.tile = problem.tiles[tile];
    slot.num_steps = slot.tile.NumSteps(F::kCausal, F::kRows, F::kKeys);
  }
  slot.head = is_tile ? index % problem.heads : -1;
  Arrive(&shared.slot_full[Stage(count)]);
  return is_tile;
}

template <typename F>
__device__ void LoadTiles(ForwardShared<F>& shared, const ForwardMaps& maps,
                          const ForwardProblem& problem) {
  uint32_t step = 0;
#pragma unroll 1
  for (uint32_t count = 0;; ++count) {
    Wait(&shared.slot_empty[Stage(count)], Parity(count) ^ 1);
    if (!TakeTile(shared, problem, count)) return;
    const ForwardSlot& slot = shared.slots[Stage(count)];
    const int group = slot.head / problem.heads_per_group;
    const int slots = group * (problem.heads_per_group + 2);  // of the groups before
    const int query = slots + slot.head % problem.heads_per_group;
    const int key = slots + problem.heads_per_group;
    uint64_t* const queries_full = &shared.queries_full[Stage(count)];
    Expect(queries_full, F::Queries::kBytes);
    LoadBox(shared.queries[Stage(count)], maps.queries, slot.tile.query_begin,
            query * F::Queries::kCount, queries_full);
    int row = slot.tile.segment_begin;
#pragma unroll 1
    for (const uint32_t end = step + slot.num_steps; step != end; ++step, row += F::kKeys) {
      const int stage = Stage(step);
      Expect(&shared.keys_full[stage], &shared.keys_empty[stage], Parity(step), F::Keys::kBytes);
      LoadBox(shared.keys[stage], maps.keys, row, key * F::Keys::kCount, &shared.keys_full[stage]);
      Expect(&shared.values_full[stage], &shared.values_empty[stage], Parity(step),
             F::Keys::kBytes);
      LoadBox(shared.values[stage], maps.keys, row, (key + 1) * F::Keys::kCount,
              &shared.values_full[stage]);
    }
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_TILE_CUH_
