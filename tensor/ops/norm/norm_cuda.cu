#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/ops/norm/norm_backward_held.cuh"
#include "hetero/tensor/ops/norm/norm_forward_held.cuh"
#include "hetero/tensor/ops/norm/norm_held.cuh"
#include "hetero/tensor/ops/norm/norm_operands.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::kRowsAtOnce;
using cuda::kRowThreads;
using cuda::Rows;

// kLanes threads a row, which stays in shared memory between the passes; a thread reads only what
// it wrote there.
template <typename T, int kWidth, int kLanes, bool kCentered>
__global__ __launch_bounds__(kRowThreads) void NormForwardKernel(NormForwardOperands<T> op) {
  extern __shared__ __align__(16) float rows_in_flight[];
  const int lane = threadIdx.x % kLanes;
  const int64_t t = int64_t{blockIdx.x} * kRowsAtOnce<kLanes> + threadIdx.x / kLanes;
  if (t >= op.rows) return;
  float* const kept = rows_in_flight + threadIdx.x / kLanes * op.columns;
  const T* const x = op.x[t];
  const float scale = 1.0f / static_cast<float>(op.columns);

  float total = 0;
  float squares = 0;
  for (int64_t c = lane * kWidth; c < op.columns; c += kLanes * kWidth) {
    float value[kWidth];
    cuda::Load(x + c, value);
    if (!op.residual.is_null()) {
      float residual[kWidth];
      cuda::Load(op.residual[t] + c, residual);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        value[i] = cuda::ToFloat(cuda::FromFloat<T>(value[i] + residual[i]));
      }
      cuda::Store(value, op.sum[t] + c);
    }
    cuda::Store(value, kept + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      total += value[i];
      squares += value[i] * value[i];
    }
  }
  float mean = 0;
  if constexpr (kCentered) {
    mean = cuda::RowSum<kLanes>(total) * scale;
    squares = 0;
    for (int64_t c = lane * kWidth; c < op.columns; c += kLanes * kWidth) {
      float value[kWidth];
      cuda::Load(kept + c, value);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) squares += (value[i] - mean) * (value[i] - mean);
    }
  }
  const float rstd = 1.0f / sqrtf(cuda::RowSum<kLanes>(squares) * scale + op.epsilon);
  if (lane == 0) {
    op.rstd[t] = rstd;
    if constexpr (kCentered) op.mean[t] = mean;
  }
  T* const y = op.y[t];
  for (int64_t c = lane * kWidth; c < op.columns; c += kLanes * kWidth) {
    float value[kWidth], weight[kWidth];
    cuda::Load(kept + c, value);
    cuda::Load(op.weight + c, weight);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = (value[i] - mean) * rstd * weight[i];
    if constexpr (kCentered) {
      float bias[kWidth];
      cuda::Load(op.bias + c, bias);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) value[i] += bias[i];
    }
    cuda::Store(value, y + c);
  }
}

// A block does the rows of one part and keeps their parameter gradients in shared memory: a line
// for each row at once, for the weight and then for the bias. A thread owns its columns of a line.
template <typename T, int kWidth, int kLanes, bool kCentered>
__global__ __launch_bounds__(kRowThreads) void NormBackwardKernel(NormBackwardOperands<T> op) {
  extern __shared__ __align__(16) float lines[];
  constexpr int kLines = kRowsAtOnce<kLanes>;
  const int lane = threadIdx.x % kLanes;
  const int line = threadIdx.x / kLanes;
  const int64_t columns = op.columns;
  const bool weight_wanted = op.dweight_parts != nullptr;
  float* const dweight = lines + line * columns;
  float* const dbias = dweight + kLines * columns;
  if (weight_wanted) {
    for (int64_t c = lane; c < columns; c += kLanes) {
      dweight[c] = 0;
      if constexpr (kCentered) dbias[c] = 0;
    }
    if constexpr (kLanes == cuda::kWarpSize) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  const float scale = 1.0f / static_cast<float>(columns);
  const int64_t begin = blockIdx.x * op.rows_per_part;
  const int64_t end = min(begin + op.rows_per_part, op.rows);
  for (int64_t t = begin + line; t < end; t += kLines) {
    const T* const dy_row = op.dy[t];
    const T* const x_row = op.x[t];
    const float mean = kCentered ? op.mean[t] : 0.0f;
    const float rstd = op.rstd[t];
    float mean_g = 0;
    float mean_gx = 0;
    for (int64_t c = lane * kWidth; c < columns; c += kLanes * kWidth) {
      float dy[kWidth], x[kWidth], weight[kWidth];
      cuda::Load(dy_row + c, dy);
      cuda::Load(x_row + c, x);
      cuda::Load(op.weight + c, weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float x_hat = (x[i] - mean) * rstd;
        const float g = weight[i] * dy[i];
        mean_g += g;
        mean_gx += g * x_hat;
        x[i] = dy[i] * x_hat;
      }
      if (weight_wanted) {
        float sum[kWidth];
        cuda::Load(dweight + c, sum);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += x[i];
        cuda::Store(sum, dweight + c);
        if constexpr (kCentered) {
          cuda::Load(dbias + c, sum);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) sum[i] += dy[i];
          cuda::Store(sum, dbias + c);
        }
      }
    }
    if (op.dx.is_null()) continue;
    mean_g = kCentered ? cuda::RowSum<kLanes>(mean_g) * scale : 0.0f;
    mean_gx = cuda::RowSum<kLanes>(mean_gx) * scale;
    for (int64_t c = lane * kWidth; c < columns; c += kLanes * kWidth) {
      float dy[kWidth], x[kWidth], weight[kWidth];
      cuda::Load(dy_row + c, dy);
      cuda::Load(x_row + c, x);
      cuda::Load(op.weight + c, weight);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float x_hat = (x[i] - mean) * rstd;
        dy[i] = rstd * (weight[i] * dy[i] - mean_g - x_hat * mean_gx);
      }
      if (!op.dsum.is_null()) {
        float dsum[kWidth];
        cuda::Load(op.dsum[t] + c, dsum);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) dy[i] += dsum[i];
      }
      cuda::Store(dy, op.dx[t] + c);
    }
  }
  if (!weight_wanted) return;
  __syncthreads();
  for (int64_t c = threadIdx.x; c < columns; c += kRowThreads) {
    float weight_sum = 0;
    float bias_sum = 0;
    for (int l = 0; l < kLines; ++l) {
      weight_sum += lines[l * columns + c];
      if constexpr (kCentered) bias_sum += lines[(kLines + l) * columns + c];
    }
    op.dweight_parts[blockIdx.x * columns + c] = weight_sum;
    if constexpr (kCentered) op.dbias_parts[blockIdx.x * columns + c] = bias_sum;
  }
}

// Calls `function.template operator()<T, kWidth, kCentered>()`.
template <typename Function>
absl::Status Visit(const ConstTensorView& x_TC, bool centered,
                   std::initializer_list<ConstTensorView> views, Function&& function) {
  return cuda::VisitFloat(x_TC.dtype(), [&]<typename T>() {
    return cuda::VisitWidth<T>(x_TC.dim(1), views, [&]<int kWidth>() {
      return centered ? function.template operator()<T, kWidth, true>()
                      : function.template operator()<T, kWidth, false>();
    });
  });
}

}  // namespace

absl::Status NormForwardCuda(const NormForwardArgs& args, bool centered, Stream& stream) {
  const auto launch = [&]<typename T, int kWidth, bool kCentered>() {
    const NormForwardOperands<T> op{.rows = args.x_TC.dim(0),
                                    .columns = args.x_TC.dim(1),
                                    .x = cuda::RowsOf<T>(args.x_TC),
                                    .residual = cuda::RowsOf<T>(args.residual_TC),
                                    .weight = args.weight_C.data<T>(),
                                    .bias = kCentered ? args.bias_C.data<T>() : nullptr,
                                    .sum = cuda::RowsOf<T>(args.sum_TC),
                                    .y = cuda::RowsOf<T>(args.y_TC),
                                    .mean = kCentered ? args.mean_T.data<float>() : nullptr,
                                    .rstd = args.rstd_T.data<float>(),
                                    .epsilon = static_cast<float>(args.epsilon)};
    const auto in_shared_memory = [&] {
      return cuda::VisitLanes(op.columns / kWidth, [&]<int kLanes>() {
        const cuda::LaunchShape shape = {
            .grid = cuda::NumBlocks(op.rows, kRowsAtOnce<kLanes>),
            .block = kRowThreads,
            .shared_bytes = sizeof(float) * kRowsAtOnce<kLanes> * static_cast<size_t>(op.columns)};
        return HETERO_CUDA_LAUNCH((NormForwardKernel<T, kWidth, kLanes, kCentered>), shape, stream,
                                  op);
      });
    };
    if constexpr (kWidth == 1) {
      return in_shared_memory();
    } else {
      const auto held = [&]<int kVectors, int kRows>(unsigned threads) {
        const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(op.rows, kRowsOfForwardBlock),
                                         .block = threads};
        return HETERO_CUDA_LAUNCH((NormForwardHeldKernel<T, kVectors, kRows, kCentered>), shape,
                                  stream, op);
      };
      return VisitHeld(op.columns / kWidth, held, in_shared_memory);
    }
  };
  return Visit(args.x_TC, centered,
               {args.x_TC, args.residual_TC, args.weight_C, args.bias_C, args.sum_TC, args.y_TC},
               launch);
}

absl::Status NormBackwardCuda(const NormBackwardArgs& args, bool centered,
                              const TensorView& partials_SPC, Stream& stream) {
  const int64_t columns = args.x_TC.dim(1);
  const RowParts parts(args.x_TC.dim(0));
  const bool weight_wanted = !args.dweight_C.is_null();
  const auto launch = [&]<typename T, int kWidth, bool kCentered>() {
    const NormBackwardOperands<T> op{
        .rows = args.x_TC.dim(0),
        .columns = columns,
        .rows_per_part = parts.rows_per_part,
        .dy = cuda::RowsOf<T>(args.dy_TC),
        .x = cuda::RowsOf<T>(args.x_TC),
        .dsum = cuda::RowsOf<T>(args.dsum_TC),
        .weight = args.weight_C.data<T>(),
        .mean = kCentered ? args.mean_T.data<float>() : nullptr,
        .rstd = args.rstd_T.data<float>(),
        .dx = cuda::RowsOf<T>(args.dx_TC),
        .dweight_parts = weight_wanted ? partials_SPC.At(0).data<float>() : nullptr,
        .dbias_parts = weight_wanted && kCentered ? partials_SPC.At(1).data<float>() : nullptr};
    const auto in_shared_memory = [&] {
      return cuda::VisitLanes(columns / kWidth, [&]<int kLanes>() {
        const int64_t lines = weight_wanted ? (kCentered ? 2 : 1) * kRowsAtOnce<kLanes> : 0;
        const cuda::LaunchShape shape = {.grid = static_cast<unsigned>(parts.count),
                                         .block = kRowThreads,
                                         .shared_bytes = sizeof(float) * lines * columns};
        return HETERO_CUDA_LAUNCH((NormBackwardKernel<T, kWidth, kLanes, kCentered>), shape, stream,
                                  op);
      });
    };
    if constexpr (kWidth == 1) {
      return in_shared_memory();
    } else {
      const auto held = [&]<int kVectors, int>(unsigned threads) {
        const cuda::LaunchShape shape = {
            .grid = static_cast<unsigned>(parts.count),
            .block = threads,
            .shared_bytes = GradientRing<T, kVectors, kCentered>::SharedBytes(threads)};
        return HETERO_CUDA_LAUNCH((NormBackwardHeldKernel<T, kVectors, kCentered>), shape, stream,
                                  op);
      };
      return VisitHeld(columns / kWidth, held, in_shared_memory);
    }
  };
  HETERO_RETURN_IF_ERROR(Visit(args.x_TC, centered,
                               {args.dy_TC, args.x_TC, args.weight_C, args.dsum_TC, args.dx_TC},
                               launch));
  if (!weight_wanted) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(cuda::FoldParts(partials_SPC.At(0), args.accumulate,
                                         cuda::DensePlace{args.dweight_C.data<float>()}, stream));
  if (!centered) return absl::OkStatus();
  return cuda::FoldParts(partials_SPC.At(1), args.accumulate,
                         cuda::DensePlace{args.dbias_C.data<float>()}, stream);
}

}  // namespace hetero::internal
