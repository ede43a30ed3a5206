#ifndef HETERO_TENSOR_OPS_CUDA_FAST_MATH_CUH_
#define HETERO_TENSOR_OPS_CUDA_FAST_MATH_CUH_

// Exponentials in one instruction of the special function units, for kernels
// that the accurate ones of cuda_kernel.cuh would make wait for arithmetic
// instead of memory.

#include <type_traits>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::cuda {

inline constexpr float kLog2E = 1.44269504088896340736f;

// 2^x to 2 units of f32; results below the smallest normal number are 0.
__device__ inline float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 1 / x to a unit of f32.
__device__ inline float Reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The logistic function where the result is stored as T: in bf16 to a few units
// of f32, which its rounding hides.
template <typename T>
__device__ inline float SigmoidFor(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return Sigmoid(x);
  } else {
    return Reciprocal(1.0f + Exp2(-kLog2E * x));
  }
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_FAST_MATH_CUH_
