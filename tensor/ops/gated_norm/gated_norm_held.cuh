#ifndef HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_HELD_CUH_
#define HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_HELD_CUH_

// The gated norm of groups of channels that a warp holds in registers: each is read once.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/cuda_fast_math.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {

template <typename T>
struct GatedNormOperands {
  int64_t rows, channels, group_channels;
  float epsilon;
  cuda::Rows<const T> y, z;
  const T* weight;
};

template <typename T>
struct GatedNormGradientOperands {
  cuda::Rows<const T> d_out;
  cuda::Rows<T> d_y, d_z;
  float* d_weight_parts;  // [parts, channels]; null: not wanted
  int64_t rows_per_part;
};

// The vectors of a group of channels that one lane of a warp holds.
template <typename T, int kVectors>
struct HeldGroup {
  static constexpr int kWidth = cuda::kFullWidth<T>;
  cuda::Vector<T, kWidth> vectors[kVectors];

  static __device__ int Channel(int v) {
    return (v * cuda::kWarpSize + static_cast<int>(threadIdx.x) % cuda::kWarpSize) * kWidth;
  }

  __device__ void Load(const T* from, int64_t channels) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (Channel(v) < channels) vectors[v] = cuda::VectorAt<kWidth>(from + Channel(v));
    }
  }
};

// A warp a group of channels of a row: blocks run over rows and groups.
template <typename T, int kVectors>
__global__ __launch_bounds__(cuda::kRowThreads) void GatedNormForwardHeldKernel(
    GatedNormOperands<T> op, cuda::Rows<T> out) {
  using Group = HeldGroup<T, kVectors>;
  constexpr int kWidth = Group::kWidth;
  const int64_t n = op.group_channels;
  const int64_t begin = blockIdx.y * n;
  const int64_t t =
      int64_t{blockIdx.x} * cuda::kRowsAtOnce<cuda::kWarpSize> + threadIdx.x / cuda::kWarpSize;
  if (t >= op.rows) return;
  Group y, z, weight;
  y.Load(op.y[t] + begin, n);
  z.Load(op.z[t] + begin, n);
  weight.Load(op.weight + begin, n);
  float gated[kVectors][kWidth];
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (Group::Channel(v) >= n) break;
    float of_z[kWidth];
    cuda::ToFloats(y.vectors[v], gated[v]);
    cuda::ToFloats(z.vectors[v], of_z);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      gated[v][i] *= of_z[i] * cuda::SigmoidFor<T>(of_z[i]);
      squares += gated[v][i] * gated[v][i];
    }
  }
  const float scale = 1.0f / sqrtf(cuda::WarpSum(squares) / static_cast<float>(n) + op.epsilon);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (Group::Channel(v) >= n) break;
    float of_weight[kWidth];
    cuda::ToFloats(weight.vectors[v], of_weight);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) gated[v][i] *= scale * of_weight[i];
    cuda::StoreFloats(gated[v], out[t] + begin + Group::Channel(v));
  }
}

// What backward reads of a group of a row.
template <typename T, int kVectors>
struct HeldGroupGradient {
  using Group = HeldGroup<T, kVectors>;
  static constexpr int kWidth = Group::kWidth;
  Group y, z, g;

  __device__ void Load(const GatedNormOperands<T>& op,
                       const GatedNormGradientOperands<T>& gradients, int64_t t, int64_t begin) {
    y.Load(op.y[t] + begin, op.group_channels);
    z.Load(op.z[t] + begin, op.group_channels);
    g.Load(gradients.d_out[t] + begin, op.group_channels);
  }

  // Writes d_y and d_z and adds to d_weight. v is the gated value, d_v its gradient:
  // d_v = scale (weight g - v scale^2 mean(v weight g)).
  __device__ void Finish(const GatedNormOperands<T>& op,
                         const GatedNormGradientOperands<T>& gradients, int64_t t, int64_t begin,
                         const Group& weight, float (&d_weight)[kVectors][kWidth]) const {
    const int64_t n = op.group_channels;
    float sigmoids[kVectors][kWidth];
    float squares = 0;
    float dot = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (Group::Channel(v) >= n) break;
      float of_y[kWidth], of_z[kWidth], of_g[kWidth], of_weight[kWidth];
      Read(v, weight, of_y, of_z, of_g, of_weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        sigmoids[v][i] = cuda::SigmoidFor<T>(of_z[i]);
        const float gated = of_y[i] * of_z[i] * sigmoids[v][i];
        squares += gated * gated;
        dot += gated * of_weight[i] * of_g[i];
      }
    }
    const float inverse_n = 1.0f / static_cast<float>(n);
    const float scale = 1.0f / sqrtf(cuda::WarpSum(squares) * inverse_n + op.epsilon);
    const float projection = scale * scale * cuda::WarpSum(dot) * inverse_n;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (Group::Channel(v) >= n) break;
      float of_y[kWidth], of_z[kWidth], of_g[kWidth], of_weight[kWidth];
      Read(v, weight, of_y, of_z, of_g, of_weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float s = sigmoids[v][i];
        const float gated = of_y[i] * of_z[i] * s;
        const float d_gated = scale * (of_weight[i] * of_g[i] - projection * gated);
        d_weight[v][i] += of_g[i] * gated * scale;
        of_y[i] = d_gated * of_y[i] * s * (1.0f + of_z[i] * (1.0f - s));
        of_z[i] = d_gated * of_z[i] * s;
      }
      cuda::StoreFloats(of_z, gradients.d_y[t] + begin + Group::Channel(v));
      cuda::StoreFloats(of_y, gradients.d_z[t] + begin + Group::Channel(v));
    }
  }

  __device__ void Read(int v, const Group& weight, float (&of_y)[kWidth], float (&of_z)[kWidth],
                       float (&of_g)[kWidth], float (&of_weight)[kWidth]) const {
    cuda::ToFloats(y.vectors[v], of_y);
    cuda::ToFloats(z.vectors[v], of_z);
    cuda::ToFloats(g.vectors[v], of_g);
    cuda::ToFloats(weight.vectors[v], of_weight);
  }
};

// A block does one group of channels of the rows of one part, a warp a row; a lane has the same
// channels of all its rows, whose weight gradients it sums. The next row is on its way meanwhile.
template <typename T, int kVectors>
__global__ __launch_bounds__(
    cuda::kRowThreads,
    kVectors == 4 ? 1
                  : 2) void GatedNormBackwardHeldKernel(GatedNormOperands<T> op,
                                                        GatedNormGradientOperands<T> gradients) {
  using Gradient = HeldGroupGradient<T, kVectors>;
  using Group = typename Gradient::Group;
  constexpr int kWidth = Gradient::kWidth;
  constexpr int kWarps = cuda::kRowsAtOnce<cuda::kWarpSize>;
  __shared__ float sums[kWarps][kVectors * cuda::kWarpSize * kWidth];
  const int64_t begin = blockIdx.y * op.group_channels;
  const int warp = threadIdx.x / cuda::kWarpSize;
  const int64_t first = blockIdx.x * gradients.rows_per_part;
  const int64_t last = min(first + gradients.rows_per_part, op.rows);
  float d_weight[kVectors][kWidth] = {};
  Group weight;
  weight.Load(op.weight + begin, op.group_channels);
  Gradient next;
  if (first + warp < last) next.Load(op, gradients, first + warp, begin);
  for (int64_t t = first + warp; t < last; t += kWarps) {
    const Gradient row = next;
    if (t + kWarps < last) next.Load(op, gradients, t + kWarps, begin);
    row.Finish(op, gradients, t, begin, weight, d_weight);
  }
  if (gradients.d_weight_parts == nullptr) return;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) cuda::Store(d_weight[v], &sums[warp][Group::Channel(v)]);
  __syncthreads();
  for (int64_t c = threadIdx.x; c < op.group_channels; c += cuda::kRowThreads) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += sums[w][c];
    gradients.d_weight_parts[blockIdx.x * op.channels + begin + c] = sum;
  }
}

// Calls `function.template operator()<kVectors>()` where the lanes of a warp hold so many vectors
// of a group each; else returns what `otherwise()` does.
template <typename Function, typename Otherwise>
absl::Status VisitHeldGroup(int64_t vectors_per_group, Function&& function, Otherwise&& otherwise) {
  if (vectors_per_group <= cuda::kWarpSize) return function.template operator()<1>();
  if (vectors_per_group <= 2 * cuda::kWarpSize) return function.template operator()<2>();
  if (vectors_per_group <= 4 * cuda::kWarpSize) return function.template operator()<4>();
  return otherwise();
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_HELD_CUH_
