#ifndef HETERO_TENSOR_OPS_CUDA_PACKED_CUH_
#define HETERO_TENSOR_OPS_CUDA_PACKED_CUH_

// Values as they lie in memory, in the registers of a thread that holds many of them between
// reading and computing: half of what their floats take where they are bf16.

#include <cstdint>
#include <type_traits>

#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::cuda {

template <int kWidth, typename T>
__device__ inline Vector<T, kWidth> VectorAt(const T* from) {
  return *reinterpret_cast<const Vector<T, kWidth>*>(from);
}

// Two neighbours of bf16 at once: the first is the lower half of a word, and a bf16 is the upper
// half of its float.
template <typename T, int kWidth>
__device__ inline void ToFloats(const Vector<T, kWidth>& from, float (&to)[kWidth]) {
  if constexpr (std::is_same_v<T, float> || kWidth == 1) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) to[i] = ToFloat(from.values[i]);
  } else {
    const auto* const words = reinterpret_cast<const uint32_t*>(&from);
#pragma unroll
    for (int i = 0; i < kWidth; i += 2) {
      to[i] = __uint_as_float(words[i / 2] << 16);
      to[i + 1] = __uint_as_float(words[i / 2] & 0xffff0000u);
    }
  }
}

// Rounds once, to nearest even.
template <typename T, int kWidth>
__device__ inline Vector<T, kWidth> FromFloats(const float (&from)[kWidth]) {
  Vector<T, kWidth> to;
  if constexpr (std::is_same_v<T, float> || kWidth == 1) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) to.values[i] = FromFloat<T>(from[i]);
  } else {
    auto* const pairs = reinterpret_cast<__nv_bfloat162*>(&to);
#pragma unroll
    for (int i = 0; i < kWidth; i += 2) pairs[i / 2] = __floats2bfloat162_rn(from[i], from[i + 1]);
  }
  return to;
}

template <int kWidth, typename T>
__device__ inline void StoreFloats(const float (&from)[kWidth], T* to) {
  StoreVector(FromFloats<T>(from), to);
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_PACKED_CUH_
