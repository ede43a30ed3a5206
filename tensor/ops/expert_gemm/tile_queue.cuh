#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_TILE_QUEUE_CUH_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_TILE_QUEUE_CUH_

// Which tile is next: clusters take pairs of tiles off one counter as they come to them. Experts
// have unequal rows and a tile at an edge costs less than others: taking turns in a fixed order,
// some clusters work for longer than others, on an H200 for 3 % longer in weight gradients of even
// experts, 5 % of skewed ones. Which cluster computes a tile changes nothing about its sums.
//
// The loading thread of a cluster's first block takes an index while the tile before it is loaded
// and stores it into both blocks (st.async); everybody who reads it says so to the first block.

#include <cstdint>

#include "hetero/tensor/ops/expert_gemm/expert_tiles.cuh"

namespace hetero::internal::expert_gemm {

__device__ inline void InitBarriers(TileSlots& tiles) {
  for (int slot = 0; slot < kTileSlots; ++slot) {
    ptx::mbarrier_init(&tiles.full[slot], 1);
    ptx::mbarrier_init(&tiles.empty[slot], (kMathWarps + 1) * kCluster);
  }
}

// By each loading thread, for one tile after another: makes room for the index, and the cluster's
// first block fills it.
class TileSource {
 public:
  __device__ TileSource(TileSlots& tiles, const Problem& problem)
      : tiles_(tiles), next_(problem.next_tile) {}

  __device__ void PutNext() {
    const int slot = position_.stage;
    ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared,
                                   &tiles_.full[slot], sizeof(tiles_.index[slot]));
    if (blockIdx.x % kCluster == 0) {
      Wait(&tiles_.empty[slot], position_.parity ^ 1);
      last_ = atomicAdd(next_, 1);
      for (int rank = 0; rank < kCluster; ++rank) {
        asm volatile(
            "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                InBlock(&tiles_.index[slot], rank)),
            "r"(last_), "r"(InBlock(&tiles_.full[slot], rank))
            : "memory");
      }
    }
    position_.Advance();
  }

  // Once there was no tile: each cluster took one index too many, and who has the last of them
  // leaves the counter as it was.
  __device__ void Finish(int num_pairs) {
    const int clusters = gridDim.x / kCluster;
    if (blockIdx.x % kCluster == 0 && last_ == num_pairs + clusters - 1) *next_ = 0;
  }

 private:
  TileSlots& tiles_;
  int* const next_;
  int last_ = 0;
  Position<kTileSlots> position_;
};

// One of the readers: a warp, or the thread that loads.
template <bool kWarp>
class TileReader {
 public:
  __device__ explicit TileReader(TileSlots& tiles) : tiles_(tiles) {}

  __device__ int Take() {
    const int slot = position_.stage;
    Wait(&tiles_.full[slot], position_.parity);
    const int index = *static_cast<const volatile int*>(&tiles_.index[slot]);
    if constexpr (kWarp) __syncwarp();
    if (!kWarp || threadIdx.x % kWarpSize == 0) ArriveAt(InBlock(&tiles_.empty[slot], 0));
    position_.Advance();
    return index;
  }

 private:
  TileSlots& tiles_;
  Position<kTileSlots> position_;
};

}  // namespace hetero::internal::expert_gemm

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_TILE_QUEUE_CUH_
