#ifndef HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_
#define HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_

#include <cstdint>

#include "hetero/tensor/ops/hopper/memory.cuh"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"

namespace hetero::internal {

// From token k to m of a chunk, with their kSsdCumulative, where m's sequence starts at `first`: 0
// where m does not read k.
__device__ inline float DecayBetween(int k, float sum_k, int m, float sum_m, int first) {
  const bool is_read = static_cast<unsigned>(k - first) <= static_cast<unsigned>(m - first);
  return PowerOfTwo(is_read ? sum_m - sum_k : -INFINITY);
}

// Where no sequence starts inside the chunk: of its first and of its last token.
__device__ inline bool IsOneSequence(const int32_t* first) { return first[0] == first[kChunk - 1]; }

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_HOPPER_DECAY_CUH_
