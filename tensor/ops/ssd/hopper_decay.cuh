#ifndef HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_
#define HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_

#include "hetero/tensor/ops/hopper/memory.cuh"

namespace hetero::internal {

// From token k to m of a chunk, with their kSsdCumulative, where m's sequence starts at `first`: 0
// where m does not read k.
__device__ inline float DecayBetween(int k, float sum_k, int m, float sum_m, int first) {
  const bool is_read = static_cast<unsigned>(k - first) <= static_cast<unsigned>(m - first);
  return PowerOfTwo(is_read ? sum_m - sum_k : -INFINITY);
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_
