#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_ADD_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_ADD_CUH_

// How hopper_backward.cuh adds the gradients of queries to memory, in turns.

#include <cstdint>
#include <cuda/atomic>

#include "hetero/tensor/ops/attention/hopper_tile.cuh"

namespace hetero::internal {

// Adds what the groups computed in a step, once it is the tile's turn. The first tile stores, where
// no other segment has rows in the block.
template <typename B>
__device__ void AddStep(BackwardShared<B>& shared, const BackwardProblem& problem,
                        const TileSlot& slot, uint32_t step, int block, int head) {
  constexpr uint32_t kBytes = sizeof(shared.d_queries[0]);
  const BackwardTile& tile = slot.tile;
  const int begin = block * B::kRows, end = begin + B::kRows;
  const auto turn = static_cast<uint32_t>(tile.TurnIn(end));
  const bool stores = turn == 0 && begin >= tile.segment_begin && end <= tile.segment_end;
  const ::cuda::atomic_ref<uint32_t, ::cuda::thread_scope_device> done(
      problem.turns[head * problem.turns_of_head + block + tile.segment]);
  while (done.load(::cuda::memory_order_acquire) != turn) {
  }
  ptx::fence_proxy_async(ptx::space_global);
  float* to = problem.d_queries +
              (int64_t{head} * problem.num_blocks + block) * (kMathGroups * B::kQueryPart);
#pragma unroll
  for (int group = 0; group < kMathGroups; ++group, to += B::kQueryPart) {
    Wait(&shared.d_queries_full[Stage(step)][group], Parity(step));
    if (stores) {
      ptx::cp_async_bulk(ptx::space_global, ptx::space_shared, to, shared.d_queries[group], kBytes);
    } else {
      ptx::cp_reduce_async_bulk(ptx::space_global, ptx::space_shared, ptx::op_add, to,
                                shared.d_queries[group], kBytes);
    }
    ptx::cp_async_bulk_commit_group();
  }
  ptx::cp_async_bulk_wait_group_read(ptx::n32_t<1>());
  Arrive(&shared.d_queries_empty[0]);
  ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
  Arrive(&shared.d_queries_empty[1]);
  // Not only read: added.
  ptx::cp_async_bulk_wait_group(ptx::n32_t<0>());
  done.store(turn + 1, ::cuda::memory_order_release);
}

template <typename B>
__device__ void AddQueryGradients(BackwardShared<B>& shared, const BackwardProblem& problem,
                                  int warp) {
  uint32_t step = 0;
#pragma unroll 1
  for (uint32_t count = 0;; ++count) {
    const TileSlot* const slot = NextSlot(shared, count);
    if (slot == nullptr) return;
    int head = slot->group * problem.heads_per_group;
    int block = slot->blocks.first;
#pragma unroll 1
    for (const uint32_t end = step + slot->num_steps; step != end; ++step) {
      if (Stage(step) == warp) AddStep(shared, problem, *slot, step, block, head);
      if (++block == slot->blocks.end) {
        block = slot->blocks.first;
        ++head;
      }
    }
    Arrive(&shared.slot_empty[Stage(count)]);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_ADD_CUH_
