#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::kRowsAtOnce;
using cuda::kRowThreads;
using cuda::Rows;

// Vectors that a thread loads before it uses the first: memory latency is what
// there is to hide.
constexpr int kUnroll = 4;

template <typename T>
struct SquaredReluOperands {
  int64_t rows, columns;
  Rows<const T> da;  // null in forward
  Rows<const T> f;
  const float* p;
  Rows<T> out;  // a, or df
  float* dp;
};

template <typename T, int kWidth, int kLanes, bool kBackward>
__global__ __launch_bounds__(kRowThreads) void SquaredReluKernel(SquaredReluOperands<T> op) {
  const int64_t t = int64_t{blockIdx.x} * kRowsAtOnce<kLanes> + threadIdx.x / kLanes;
  if (t >= op.rows) return;
  const T* const f_row = op.f[t];
  const float factor = op.p == nullptr ? 1.0f : op.p[t];
  float sum = 0;
  constexpr int64_t kStep = kLanes * kWidth;
  for (int64_t first = threadIdx.x % kLanes * kWidth; first < op.columns;
       first += kUnroll * kStep) {
    float f[kUnroll][kWidth], da[kUnroll][kWidth];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * kStep >= op.columns) break;
      cuda::Load(f_row + first + u * kStep, f[u]);
      if constexpr (kBackward) cuda::Load(op.da[t] + first + u * kStep, da[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * kStep >= op.columns) break;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float positive = f[u][i] > 0.0f ? f[u][i] : 0.0f;
        if constexpr (kBackward) {
          const float gradient = da[u][i] * positive;
          sum += gradient * positive;
          f[u][i] = gradient * (2.0f * factor);
        } else {
          f[u][i] = positive * positive * factor;
        }
      }
      cuda::Store(f[u], op.out[t] + first + u * kStep);
    }
  }
  if constexpr (kBackward) {
    if (op.dp == nullptr) return;
    sum = cuda::RowSum<kLanes>(sum);
    if (threadIdx.x % kLanes == 0) op.dp[t] = sum;
  }
}

template <bool kBackward>
absl::Status LaunchSquaredRelu(const ConstTensorView& da_TF, const ConstTensorView& f_TF,
                               const ConstTensorView& p_T, const TensorView& out_TF,
                               const TensorView& dp_T, Stream& stream) {
  return cuda::VisitFloat(f_TF.dtype(), [&]<typename T>() {
    const SquaredReluOperands<T> op{.rows = f_TF.dim(0),
                                    .columns = f_TF.dim(1),
                                    .da = cuda::RowsOf<T>(da_TF),
                                    .f = cuda::RowsOf<T>(f_TF),
                                    .p = cuda::DataOrNull<float>(p_T),
                                    .out = cuda::RowsOf<T>(out_TF),
                                    .dp = cuda::DataOrNull<float>(dp_T)};
    return cuda::VisitWidth<T>(op.columns, {da_TF, f_TF, out_TF}, [&]<int kWidth>() {
      return cuda::VisitLanes(op.columns / (kUnroll * kWidth), [&]<int kLanes>() {
        const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(op.rows, kRowsAtOnce<kLanes>),
                                         .block = kRowThreads};
        return HETERO_CUDA_LAUNCH((SquaredReluKernel<T, kWidth, kLanes, kBackward>), shape, stream,
                                  op);
      });
    });
  });
}

}  // namespace

absl::Status SquaredReluForwardCuda(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                    const TensorView& a_TF, Stream& stream) {
  return LaunchSquaredRelu<false>({}, f_TF, p_T, a_TF, {}, stream);
}

absl::Status SquaredReluBackwardCuda(const SquaredReluBackwardArgs& args, Stream& stream) {
  return LaunchSquaredRelu<true>(args.da_TF, args.f_TF, args.p_T, args.df_TF, args.dp_T, stream);
}

}  // namespace hetero::internal
