#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"
#include "hetero/tensor/ops/gated_norm/gated_norm_held.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::kRowsAtOnce;
using cuda::kRowThreads;
using cuda::Rows;

// kLanes threads a group of channels of a row: blocks run over rows and groups. The gated values
// stay in shared memory between the passes; a thread reads only what it wrote there.
template <typename T, int kWidth, int kLanes>
__global__ __launch_bounds__(kRowThreads) void GatedNormForwardKernel(GatedNormOperands<T> op,
                                                                      Rows<T> out) {
  extern __shared__ __align__(16) float groups_in_flight[];
  const int64_t n = op.group_channels;
  const int64_t t = int64_t{blockIdx.x} * kRowsAtOnce<kLanes> + threadIdx.x / kLanes;
  if (t >= op.rows) return;
  const int64_t begin = blockIdx.y * n;
  const T* const y_row = op.y[t] + begin;
  const T* const z_row = op.z[t] + begin;
  float* const kept = groups_in_flight + threadIdx.x / kLanes * n;
  float squares = 0;
  for (int64_t c = threadIdx.x % kLanes * kWidth; c < n; c += kLanes * kWidth) {
    float y[kWidth], z[kWidth];
    cuda::Load(y_row + c, y);
    cuda::Load(z_row + c, z);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      y[i] *= z[i] * cuda::Sigmoid(z[i]);
      squares += y[i] * y[i];
    }
    cuda::Store(y, kept + c);
  }
  const float scale =
      1.0f / sqrtf(cuda::RowSum<kLanes>(squares) / static_cast<float>(n) + op.epsilon);
  for (int64_t c = threadIdx.x % kLanes * kWidth; c < n; c += kLanes * kWidth) {
    float v[kWidth], weight[kWidth];
    cuda::Load(kept + c, v);
    cuda::Load(op.weight + begin + c, weight);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) v[i] *= scale * weight[i];
    cuda::Store(v, out[t] + begin + c);
  }
}

// A block does one group of channels of the rows of one part, and keeps the weight gradient in
// shared memory: a line for each row at once. A thread owns its channels of a line.
template <typename T, int kWidth, int kLanes>
__global__ __launch_bounds__(kRowThreads) void GatedNormBackwardKernel(
    GatedNormOperands<T> op, GatedNormGradientOperands<T> gradients) {
  extern __shared__ __align__(16) float lines[];
  constexpr int kLines = kRowsAtOnce<kLanes>;
  const int64_t n = op.group_channels;
  const int64_t begin = blockIdx.y * n;
  const int lane = threadIdx.x % kLanes;
  const bool weight_wanted = gradients.d_weight_parts != nullptr;
  float* const d_weight = lines + threadIdx.x / kLanes * n;
  if (weight_wanted) {
    for (int64_t c = lane; c < n; c += kLanes) d_weight[c] = 0;
    __syncthreads();
  }
  const int64_t first = blockIdx.x * gradients.rows_per_part;
  const int64_t last = min(first + gradients.rows_per_part, op.rows);
  for (int64_t t = first + threadIdx.x / kLanes; t < last; t += kLines) {
    const T* const y_row = op.y[t] + begin;
    const T* const z_row = op.z[t] + begin;
    const T* const g_row = gradients.d_out[t] + begin;
    float squares = 0;
    float dot = 0;
    for (int64_t c = lane * kWidth; c < n; c += kLanes * kWidth) {
      float y[kWidth], z[kWidth], g[kWidth], weight[kWidth];
      cuda::Load(y_row + c, y);
      cuda::Load(z_row + c, z);
      cuda::Load(g_row + c, g);
      cuda::Load(op.weight + begin + c, weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float v = y[i] * z[i] * cuda::Sigmoid(z[i]);
        squares += v * v;
        dot += v * weight[i] * g[i];
      }
    }
    const float inverse_n = 1.0f / static_cast<float>(n);
    const float scale = 1.0f / sqrtf(cuda::RowSum<kLanes>(squares) * inverse_n + op.epsilon);
    // d_v = scale (weight g - v scale^2 mean(v weight g)).
    const float projection = scale * scale * cuda::RowSum<kLanes>(dot) * inverse_n;
    for (int64_t c = lane * kWidth; c < n; c += kLanes * kWidth) {
      float y[kWidth], z[kWidth], g[kWidth], weight[kWidth];
      cuda::Load(y_row + c, y);
      cuda::Load(z_row + c, z);
      cuda::Load(g_row + c, g);
      cuda::Load(op.weight + begin + c, weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float s = cuda::Sigmoid(z[i]);
        const float v = y[i] * z[i] * s;
        const float d_v = scale * (weight[i] * g[i] - projection * v);
        g[i] *= v * scale;
        y[i] = d_v * y[i] * s * (1.0f + z[i] * (1.0f - s));
        z[i] = d_v * z[i] * s;
      }
      cuda::Store(z, gradients.d_y[t] + begin + c);
      cuda::Store(y, gradients.d_z[t] + begin + c);
      if (weight_wanted) {
        cuda::Load(d_weight + c, weight);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) weight[i] += g[i];
        cuda::Store(weight, d_weight + c);
      }
    }
  }
  if (!weight_wanted) return;
  __syncthreads();
  for (int64_t c = threadIdx.x; c < n; c += kRowThreads) {
    float sum = 0;
    for (int line = 0; line < kLines; ++line) sum += lines[line * n + c];
    gradients.d_weight_parts[blockIdx.x * op.channels + begin + c] = sum;
  }
}

template <typename T>
GatedNormOperands<T> OperandsOf(const GatedNormInputs& inputs) {
  return {.rows = inputs.y_TI.dim(0),
          .channels = inputs.y_TI.dim(1),
          .group_channels = inputs.y_TI.dim(1) / inputs.num_groups,
          .epsilon = static_cast<float>(inputs.epsilon),
          .y = cuda::RowsOf<T>(inputs.y_TI),
          .z = cuda::RowsOf<T>(inputs.z_TI),
          .weight = inputs.weight_I.data<T>()};
}

// Calls `held.template operator()<T, kVectors>()` for groups that a warp holds, else
// `in_shared_memory.template operator()<T, kWidth, kLanes>()`.
template <typename Held, typename InSharedMemory>
absl::Status Visit(const GatedNormInputs& inputs, std::initializer_list<ConstTensorView> outputs,
                   Held&& held, InSharedMemory&& in_shared_memory) {
  const int64_t group_channels = inputs.y_TI.dim(1) / inputs.num_groups;
  return cuda::VisitFloat(inputs.y_TI.dtype(), [&]<typename T>() {
    const auto visit_lanes = [&]<int kWidth>() {
      return cuda::VisitLanes(group_channels / kWidth, [&]<int kLanes>() {
        return in_shared_memory.template operator()<T, kWidth, kLanes>();
      });
    };
    const auto visit = [&]<int kWidth>() {
      if constexpr (kWidth == 1) {
        return visit_lanes.template operator()<1>();
      } else {
        return VisitHeldGroup(
            group_channels / kWidth,
            [&]<int kVectors>() { return held.template operator()<T, kVectors>(); },
            [&] { return visit_lanes.template operator()<kWidth>(); });
      }
    };
    const bool vectors = cuda::AllowVectors(outputs, cuda::kFullWidth<T>);
    return vectors ? cuda::VisitWidth<T>(group_channels,
                                         {inputs.y_TI, inputs.z_TI, inputs.weight_I}, visit)
                   : visit_lanes.template operator()<1>();
  });
}

}  // namespace

absl::Status GatedNormForwardCuda(const GatedNormInputs& inputs, const TensorView& out_TI,
                                  Stream& stream) {
  const auto grid = [&](int64_t rows_at_once) {
    return dim3(inputs.y_TI.dim(1) > 0 ? cuda::NumBlocks(inputs.y_TI.dim(0), rows_at_once) : 0,
                static_cast<unsigned>(inputs.num_groups));
  };
  const auto held = [&]<typename T, int kVectors>() {
    const cuda::LaunchShape shape = {.grid = grid(kRowsAtOnce<cuda::kWarpSize>),
                                     .block = kRowThreads};
    return HETERO_CUDA_LAUNCH((GatedNormForwardHeldKernel<T, kVectors>), shape, stream,
                              OperandsOf<T>(inputs), cuda::RowsOf<T>(out_TI));
  };
  const auto in_shared_memory = [&]<typename T, int kWidth, int kLanes>() {
    const GatedNormOperands<T> op = OperandsOf<T>(inputs);
    const cuda::LaunchShape shape = {
        .grid = grid(kRowsAtOnce<kLanes>),
        .block = kRowThreads,
        .shared_bytes = sizeof(float) * kRowsAtOnce<kLanes> * op.group_channels};
    return HETERO_CUDA_LAUNCH((GatedNormForwardKernel<T, kWidth, kLanes>), shape, stream, op,
                              cuda::RowsOf<T>(out_TI));
  };
  return Visit(inputs, {out_TI}, held, in_shared_memory);
}

absl::Status GatedNormBackwardCuda(const GatedNormInputs& inputs, const ConstTensorView& d_out_TI,
                                   const GatedNormGradients& gradients,
                                   const TensorView& partials_PI, Stream& stream) {
  const RowParts parts = GatedNormParts(inputs);
  const bool weight_wanted = !gradients.d_weight_I.is_null();
  const auto operands = [&]<typename T>() {
    return GatedNormGradientOperands<T>{.d_out = cuda::RowsOf<T>(d_out_TI),
                                        .d_y = cuda::RowsOf<T>(gradients.d_y_TI),
                                        .d_z = cuda::RowsOf<T>(gradients.d_z_TI),
                                        .d_weight_parts = cuda::DataOrNull<float>(partials_PI),
                                        .rows_per_part = parts.rows_per_part};
  };
  const cuda::LaunchShape shape = {
      .grid = {inputs.y_TI.dim(1) > 0 ? static_cast<unsigned>(parts.count) : 0,
               static_cast<unsigned>(inputs.num_groups)},
      .block = kRowThreads};
  const auto held = [&]<typename T, int kVectors>() {
    return HETERO_CUDA_LAUNCH((GatedNormBackwardHeldKernel<T, kVectors>), shape, stream,
                              OperandsOf<T>(inputs), operands.template operator()<T>());
  };
  const auto in_shared_memory = [&]<typename T, int kWidth, int kLanes>() {
    const GatedNormOperands<T> op = OperandsOf<T>(inputs);
    cuda::LaunchShape with_lines = shape;
    if (weight_wanted) {
      with_lines.shared_bytes = sizeof(float) * kRowsAtOnce<kLanes> * op.group_channels;
    }
    return HETERO_CUDA_LAUNCH((GatedNormBackwardKernel<T, kWidth, kLanes>), with_lines, stream, op,
                              operands.template operator()<T>());
  };
  HETERO_RETURN_IF_ERROR(
      Visit(inputs, {d_out_TI, gradients.d_y_TI, gradients.d_z_TI}, held, in_shared_memory));
  if (!weight_wanted) return absl::OkStatus();
  return cuda::FoldParts(partials_PI, gradients.accumulate,
                         cuda::DensePlace{gradients.d_weight_I.data<float>()}, stream);
}

}  // namespace hetero::internal
