#ifndef HETERO_TENSOR_OPS_NORM_NORM_HELD_CUH_
#define HETERO_TENSOR_OPS_NORM_NORM_HELD_CUH_

// What kernels share whose blocks hold a row of a matrix in registers, which is read once so. A
// thread has the same columns of all its block's rows: weights stay in registers too, and so do
// sums over rows.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"

namespace hetero::internal {

inline constexpr int kMaxHeldThreads = 256;
inline constexpr int kMaxHeldWarps = kMaxHeldThreads / cuda::kWarpSize;

// The vectors of a row that one thread has.
template <typename T, int kVectors>
struct HeldRow {
  static constexpr int kWidth = cuda::kFullWidth<T>;
  cuda::Vector<T, kWidth> vectors[kVectors];

  static __device__ int Column(int v) { return (v * blockDim.x + threadIdx.x) * kWidth; }

  // Zeros where there is no row, and after its end.
  __device__ void Load(const T* row, int64_t columns) {
    constexpr float kZeros[kWidth] = {};
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      vectors[v] = row != nullptr && Column(v) < columns ? cuda::VectorAt<kWidth>(row + Column(v))
                                                         : cuda::FromFloats<T>(kZeros);
    }
  }
};

// Sums over a block of up to kMaxHeldWarps warps, in the order of the warps.
template <int kValues>
class BlockSums {
 public:
  using Shared = float[2][kMaxHeldWarps][kValues];

  explicit __device__ BlockSums(Shared& of_warp) : of_warp_(of_warp) {}

  // All threads call it and get the sums.
  __device__ void operator()(float (&values)[kValues]) {
#pragma unroll
    for (float& value : values) value = cuda::WarpSum(value);
    float(&of_warp)[kMaxHeldWarps][kValues] = of_warp_[buffer_];
    // What the call before this one left may still be read.
    buffer_ ^= 1;
    if (threadIdx.x % cuda::kWarpSize == 0) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) of_warp[threadIdx.x / cuda::kWarpSize][i] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (float& value : values) value = 0;
    for (int warp = 0; warp < blockDim.x / cuda::kWarpSize; ++warp) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) values[i] += of_warp[warp][i];
    }
  }

 private:
  Shared& of_warp_;
  int buffer_ = 0;
};

// Calls `function.template operator()<kVectors, kRows>(threads)` where a block holds a row of so
// many vectors that a warp would be slow with it; else returns what `otherwise()` does.
template <typename Function, typename Otherwise>
absl::Status VisitHeld(int64_t vectors_per_row, Function&& function, Otherwise&& otherwise) {
  const auto threads = [&](int64_t vectors) {
    return static_cast<unsigned>(
        RoundUp(CeilDiv(vectors_per_row, vectors), int64_t{cuda::kWarpSize}));
  };
  if (vectors_per_row <= cuda::kWarpSize) return otherwise();
  if (vectors_per_row <= kMaxHeldThreads) return function.template operator()<1, 2>(threads(1));
  if (vectors_per_row <= 2 * kMaxHeldThreads) return function.template operator()<2, 1>(threads(2));
  if (vectors_per_row <= 4 * kMaxHeldThreads) return function.template operator()<4, 1>(threads(4));
  return otherwise();
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_NORM_NORM_HELD_CUH_
