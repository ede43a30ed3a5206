#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_MEMORY_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_MEMORY_CUH_

// Barriers and copies of compute capability 9.0 as hopper_backward.cuh uses them.

#include <cuda.h>

#include <cstdint>
#include <cuda/ptx>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::internal {

namespace ptx = ::cuda::ptx;

__device__ inline uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

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

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_MEMORY_CUH_
