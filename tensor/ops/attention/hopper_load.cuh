#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_LOAD_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_LOAD_CUH_

// Loads of hopper_backward.cuh: the next tile of the list, its keys and values once, queries, their
// gradients and statistics in every step.

#include <cstdint>

#include "hetero/tensor/ops/attention/hopper_tile.cuh"

namespace hetero::internal {

template <typename B>
__device__ void LoadQueries(BackwardShared<B>& shared, const BackwardMaps& maps,
                            const BackwardProblem& problem, uint32_t step, int block, int group,
                            int head_of_group) {
  const int stage = Stage(step);
  uint64_t* const full = &shared.queries_full[stage];
  Expect(full, &shared.queries_empty[stage], Parity(step), B::Queries::kBytes);
  const int slot = group * problem.slots() + head_of_group;
  LoadBox(shared.queries[stage], maps.queries, block * B::kRows, slot * B::Queries::kCount, full);
}

template <typename B>
__device__ void LoadGradients(BackwardShared<B>& shared, const BackwardMaps& maps,
                              const BackwardProblem& problem, uint32_t step, int block, int group,
                              int head_of_group) {
  const int stage = Stage(step);
  uint64_t* const full = &shared.d_out_full[stage];
  Expect(full, &shared.d_out_empty[stage], Parity(step), B::Queries::kBytes);
  const int head = group * problem.heads_per_group + head_of_group;
  LoadBox(shared.d_out[stage], maps.d_out, block * B::kRows, head * B::Queries::kCount, full);
}

template <typename B>
__device__ void LoadKeys(BackwardShared<B>& shared, const BackwardMaps& maps,
                         const BackwardProblem& problem, const TileSlot& slot, uint32_t count) {
  const int first = slot.group * problem.slots() + problem.heads_per_group;
  const int key = slot.tile.key_begin;
  Expect(&shared.keys_full, &shared.keys_empty, count & 1, 2 * B::Keys::kBytes);
  LoadBox(shared.keys, maps.keys, key, first * B::Keys::kCount, &shared.keys_full);
  LoadBox(shared.values, maps.keys, key, (first + 1) * B::Keys::kCount, &shared.keys_full);
}

// Takes the next tile of the list into the slot of the block's `count`-th.
template <typename B>
__device__ bool TakeTile(BackwardShared<B>& shared, const BackwardProblem& problem,
                         uint32_t count) {
  TileSlot& slot = shared.slots[Stage(count)];
  Wait(&shared.slot_empty[Stage(count)], Parity(count) ^ 1);
  const int index = static_cast<int>(atomicAdd(problem.next, 1));
  const int tile = index / problem.num_groups;
  const bool is_tile = tile < problem.num_tiles;
  if (is_tile) {
    slot.tile = problem.tiles[tile];
    slot.blocks = BlockRange::Of<B>(slot.tile);
    slot.unmasked = BlockRange::Unmasked<B>(slot.tile);
    slot.num_steps = slot.blocks.count() * problem.heads_per_group;
  }
  slot.group = is_tile ? index % problem.num_groups : -1;
  Arrive(&shared.slot_full[Stage(count)]);
  return is_tile;
}

template <typename B>
__device__ void LoadTiles(BackwardShared<B>& shared, const BackwardMaps& maps,
                          const BackwardProblem& problem) {
  uint32_t step = 0;
#pragma unroll 1
  for (uint32_t count = 0; TakeTile(shared, problem, count); ++count) {
    const TileSlot& slot = shared.slots[Stage(count)];
    int head = 0, block = slot.blocks.first;
#pragma unroll 1
    for (int left = slot.num_steps; left > 0; --left, ++step) {
      LoadQueries(shared, maps, problem, step, block, slot.group, head);
      if (left == slot.num_steps) LoadKeys(shared, maps, problem, slot, count);
      LoadGradients(shared, maps, problem, step, block, slot.group, head);
      if (++block == slot.blocks.end) {
        block = slot.blocks.first;
        ++head;
      }
    }
  }
}

// By a warp of its own: copies of so few bytes among those of tiles make steps 2 to 5 % longer.
template <typename B>
__device__ void LoadStatistics(BackwardShared<B>& shared, const BackwardProblem& problem) {
  constexpr int kOfLane = B::kRows / 2 / cuda::kWarpSize;
  const int lane = threadIdx.x % cuda::kWarpSize;
  uint32_t step = 0;
#pragma unroll 1
  for (uint32_t count = 0;; ++count) {
    const TileSlot* const slot = NextSlot(shared, count);
    if (slot == nullptr) return;
    int head = slot->group * problem.heads_per_group;
    int block = slot->blocks.first;
#pragma unroll 1
    for (const uint32_t end = step + slot->num_steps; step != end; ++step) {
      const auto* const from = reinterpret_cast<const float4*>(problem.statistics) +
                               (int64_t{head} * problem.num_blocks + block) * (B::kRows / 2) + lane;
      float4 of_lane[kOfLane];
#pragma unroll
      for (int i = 0; i < kOfLane; ++i) of_lane[i] = __ldg(from + i * cuda::kWarpSize);
      Wait(&shared.queries_empty[Stage(step)], Parity(step) ^ 1);
#pragma unroll
      for (int i = 0; i < kOfLane; ++i) {
        shared.statistics[Stage(step)][lane + i * cuda::kWarpSize] = of_lane[i];
      }
      Arrive(&shared.statistics_full[Stage(step)]);
      if (++block == slot->blocks.end) {
        block = slot->blocks.first;
        ++head;
      }
    }
    Arrive(&shared.slot_empty[Stage(count)]);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_LOAD_CUH_
