#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_CUH_

// The kernel of hopper_backward.h: one block a multiprocessor, which takes tile after tile from the
// list. Two groups of four warps multiply, two warps add gradients of queries to memory, one loads
// tiles and one statistics. A step is one block of queries of one head; steps are counted over all
// tiles.

#include "hetero/tensor/ops/attention/hopper_add.cuh"
#include "hetero/tensor/ops/attention/hopper_load.cuh"
#include "hetero/tensor/ops/attention/hopper_multiply.cuh"

namespace hetero::internal {

template <typename B>
__global__ __launch_bounds__(kBackwardThreads, 1) void BackwardKernel(
    const __grid_constant__ BackwardMaps maps, const __grid_constant__ BackwardProblem problem) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<BackwardShared<B>*>(memory);
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  // Registers of the three groups are 504 together.
  if (threadIdx.x >= kMathThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    const int warp = (threadIdx.x - kMathThreads) / cuda::kWarpSize;
    const bool leads = threadIdx.x % cuda::kWarpSize == 0;
    if (warp == kAddingWarps + 1) {
      LoadStatistics(shared, problem);
    } else if (leads && warp == kAddingWarps) {
      LoadTiles(shared, maps, problem);
    } else if (leads) {
      AddQueryGradients(shared, problem, warp);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    MultiplyTiles(shared, problem);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_BACKWARD_CUH_
