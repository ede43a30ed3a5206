#ifndef HETERO_TENSOR_OPS_HOPPER_MEMORY_CUH_
#define HETERO_TENSOR_OPS_HOPPER_MEMORY_CUH_

// Barriers, copies and arithmetic of compute capability 9.0.

#include <cuda.h>

#include <cstdint>
#include <cuda/ptx>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::internal {

namespace ptx = ::cuda::ptx;

__device__ inline uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Of a ring of stages, the one that is next.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// Two stages of a ring take turns.
__device__ inline int Stage(uint32_t step) { return step & 1; }
// Of the barrier of the step's stage, whose phases end once in two steps.
__device__ inline uint32_t Parity(uint32_t step) { return step >> 1 & 1; }

__device__ inline void Wait(uint64_t* barrier, uint32_t parity) {
  while (!ptx::mbarrier_try_wait_parity(barrier, parity)) {
  }
}

// Every thread that read or wrote arrives for itself, not a warp's first lane for all: that costs
// no time here, and a race checker follows it.
__device__ inline void Arrive(uint64_t* barrier) {
  ptx::mbarrier_arrive(ptx::sem_release, ptx::scope_cta, ptx::space_shared, barrier);
}

// Starts a load of `bytes` in all.
__device__ inline void Expect(uint64_t* full, uint32_t bytes) {
  ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, full, bytes);
}
// Likewise, once the stage is free.
__device__ inline void Expect(uint64_t* full, uint64_t* empty, uint32_t parity, uint32_t bytes) {
  Wait(empty, parity ^ 1);
  Expect(full, bytes);
}

__device__ inline void LoadBox(void* to, const CUtensorMap& map, int row, int panel,
                               uint64_t* full) {
  ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, to, &map, {0, row, panel}, full);
}

// The same of a tensor of one more dimension, the outermost.
__device__ inline void LoadBox(void* to, const CUtensorMap& map, int row, int panel, int outer,
                               uint64_t* full) {
  ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, to, &map, {0, row, panel, outer},
                            full);
}
// Of `bytes`, a multiple of 16, between addresses that are.
__device__ inline void LoadBytes(void* to, const void* from, uint32_t bytes, uint64_t* full) {
  ptx::cp_async_bulk(ptx::space_cluster, ptx::space_global, to, from, bytes, full);
}

// What a thread stored becomes visible to tensor cores and copies, after a barrier.
__device__ inline void FenceStores() { ptx::fence_proxy_async(ptx::space_shared); }

__device__ inline void StoreMatrices(uint32_t to, const uint32_t (&registers)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(registers[0]), "r"(registers[1]), "r"(registers[2]), "r"(registers[3])
               : "memory");
}

__device__ inline uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

__device__ inline float PowerOfTwo(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_HOPPER_MEMORY_CUH_
