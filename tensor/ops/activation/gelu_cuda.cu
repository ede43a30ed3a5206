// GELU and SwiGLU: each logistic function, with the gradient of the bias before
// it. Floor: each matrix is moved once.

#include <cstdint>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cuda_fast_math.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::Rows;

// The share Φ of x that passes, and x Φ'(x).
struct GeluPoint {
  float gate;
  float rise;
};

// For results that are stored as T.
template <GeluForm kForm, typename T>
__device__ GeluPoint GeluAt(float x) {
  if constexpr (kForm == GeluForm::kErf) {
    return {normcdff(x), x * expf(-0.5f * x * x) * 0.3989422804f};
  } else {
    constexpr float kTwiceScale = 2 * 0.7978845608f;
    const float cubic_term = 0.044715f * x * x;
    // ½ (1 + tanh(u)) is the logistic function of 2u, which keeps its relative
    // accuracy far left.
    const float gate = cuda::SigmoidFor<T>(kTwiceScale * x * (1.0f + cubic_term));
    return {gate, x * gate * (1.0f - gate) * kTwiceScale * (1.0f + 3.0f * cubic_term)};
  }
}

template <typename T>
struct GeluOperands {
  int64_t rows, columns, rows_per_part;
  Rows<const T> da;  // null in forward
  Rows<const T> f;
  const T* bias;
  Rows<T> out;         // a, or df
  float* dbias_parts;  // [parts, columns]
};

constexpr int kGeluRows = 8;  // rows at once, of kWarpSize vectors

// Rows that a thread loads before it uses the first.
constexpr int kUnroll = 4;

// A thread owns one vector of columns of its part's rows.
template <GeluForm kForm, typename T, int kWidth, bool kBackward>
__global__ __launch_bounds__(cuda::kWarpSize* kGeluRows) void GeluKernel(GeluOperands<T> op) {
  const int64_t c = (int64_t{blockIdx.x} * cuda::kWarpSize + threadIdx.x) * kWidth;
  const bool inside = c < op.columns;
  float sum[kWidth] = {};
  if (inside) {
    float bias[kWidth] = {};
    if (op.bias != nullptr) cuda::Load(op.bias + c, bias);
    const int64_t begin = blockIdx.y * op.rows_per_part;
    const int64_t end = min(begin + op.rows_per_part, op.rows);
    for (int64_t first = begin + threadIdx.y; first < end; first += kUnroll * kGeluRows) {
      cuda::Vector<T, kWidth> f_of[kUnroll], da_of[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t t = first + u * kGeluRows;
        if (t >= end) break;
        f_of[u] = cuda::VectorAt<kWidth>(op.f[t] + c);
        if constexpr (kBackward) da_of[u] = cuda::VectorAt<kWidth>(op.da[t] + c);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t t = first + u * kGeluRows;
        if (t >= end) break;
        float f[kWidth], da[kWidth];
        cuda::ToFloats(f_of[u], f);
        if constexpr (kBackward) cuda::ToFloats(da_of[u], da);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float x = f[i] + bias[i];
          const GeluPoint point = GeluAt<kForm, T>(x);
          if constexpr (kBackward) {
            f[i] = da[i] * (point.gate + point.rise);
            sum[i] += f[i];
          } else {
            f[i] = x * point.gate;
          }
        }
        cuda::StoreFloats(f, op.out[t] + c);
      }
    }
  }
  if constexpr (kBackward) {
    if (op.dbias_parts == nullptr) return;
    __shared__ float of_row[kGeluRows][cuda::kWarpSize * kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) of_row[threadIdx.y][threadIdx.x * kWidth + i] = sum[i];
    __syncthreads();
    if (threadIdx.y != 0 || !inside) return;
    for (int row = 1; row < kGeluRows; ++row) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += of_row[row][threadIdx.x * kWidth + i];
    }
    cuda::Store(sum, op.dbias_parts + blockIdx.y * op.columns + c);
  }
}

template <GeluForm kForm, bool kBackward>
absl::Status LaunchGelu(const ConstTensorView& da_TF, const ConstTensorView& f_TF,
                        const ConstTensorView& bias_F, const TensorView& out_TF,
                        const TensorView& partials_PF, Stream& stream) {
  const RowParts parts(f_TF.dim(0));
  return cuda::VisitFloat(f_TF.dtype(), [&]<typename T>() {
    const GeluOperands<T> op{.rows = f_TF.dim(0),
                             .columns = f_TF.dim(1),
                             .rows_per_part = parts.rows_per_part,
                             .da = cuda::RowsOf<T>(da_TF),
                             .f = cuda::RowsOf<T>(f_TF),
                             .bias = cuda::DataOrNull<T>(bias_F),
                             .out = cuda::RowsOf<T>(out_TF),
                             .dbias_parts = cuda::DataOrNull<float>(partials_PF)};
    return cuda::VisitWidth<T>(op.columns, {da_TF, f_TF, bias_F, out_TF}, [&]<int kWidth>() {
      const cuda::LaunchShape shape = {
          .grid = {cuda::NumBlocks(op.columns, cuda::kWarpSize * kWidth),
                   static_cast<unsigned>(parts.count)},
          .block = {cuda::kWarpSize, kGeluRows}};
      return HETERO_CUDA_LAUNCH((GeluKernel<kForm, T, kWidth, kBackward>), shape, stream, op);
    });
  });
}

template <typename T>
struct SwiGluOperands {
  int64_t rows, columns, rows_per_part;  // columns: half of f's
  Rows<const T> da;                      // null in forward
  Rows<const T> f;
  const T* bias;
  Rows<T> out;         // a, or df
  float* dbias_parts;  // [parts, 2 columns]
};

// A thread owns one vector of gates and what they gate, of its part's rows.
template <typename T, int kWidth, bool kBackward>
__global__ __launch_bounds__(cuda::kWarpSize* kGeluRows) void SwiGluKernel(SwiGluOperands<T> op) {
  const int64_t c = (int64_t{blockIdx.x} * cuda::kWarpSize + threadIdx.x) * kWidth;
  const bool inside = c < op.columns;
  float sum[2][kWidth] = {};
  if (inside) {
    float bias[2][kWidth] = {};
    if (op.bias != nullptr) {
      cuda::Load(op.bias + c, bias[0]);
      cuda::Load(op.bias + op.columns + c, bias[1]);
    }
    const int64_t begin = blockIdx.y * op.rows_per_part;
    const int64_t end = min(begin + op.rows_per_part, op.rows);
#pragma unroll 2
    for (int64_t t = begin + threadIdx.y; t < end; t += kGeluRows) {
      float gate[kWidth], up[kWidth], da[kWidth];
      cuda::Load(op.f[t] + c, gate);
      cuda::Load(op.f[t] + op.columns + c, up);
      if constexpr (kBackward) cuda::Load(op.da[t] + c, da);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float g = gate[i] + bias[0][i];
        const float u = up[i] + bias[1][i];
        const float s = cuda::SigmoidFor<T>(g);
        if constexpr (kBackward) {
          gate[i] = da[i] * u * s * (1.0f + g * (1.0f - s));
          up[i] = da[i] * g * s;
          sum[0][i] += gate[i];
          sum[1][i] += up[i];
        } else {
          gate[i] = g * s * u;
        }
      }
      cuda::StoreFloats(gate, op.out[t] + c);
      if constexpr (kBackward) cuda::StoreFloats(up, op.out[t] + op.columns + c);
    }
  }
  if constexpr (kBackward) {
    if (op.dbias_parts == nullptr) return;
    __shared__ float of_row[kGeluRows][cuda::kWarpSize * kWidth];
    for (int half = 0; half < 2; ++half) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kWidth; ++i) of_row[threadIdx.y][threadIdx.x * kWidth + i] = sum[half][i];
      __syncthreads();
      if (threadIdx.y != 0 || !inside) continue;
      for (int row = 1; row < kGeluRows; ++row) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[half][i] += of_row[row][threadIdx.x * kWidth + i];
      }
      cuda::Store(sum[half], op.dbias_parts + (2 * blockIdx.y + half) * op.columns + c);
    }
  }
}

template <bool kBackward>
absl::Status LaunchSwiGlu(const ConstTensorView& da_TF, const ConstTensorView& f_TD,
                          const ConstTensorView& bias_D, const TensorView& out,
                          const TensorView& partials_PD, Stream& stream) {
  const RowParts parts(f_TD.dim(0));
  return cuda::VisitFloat(f_TD.dtype(), [&]<typename T>() {
    const SwiGluOperands<T> op{.rows = f_TD.dim(0),
                               .columns = f_TD.dim(1) / 2,
                               .rows_per_part = parts.rows_per_part,
                               .da = cuda::RowsOf<T>(da_TF),
                               .f = cuda::RowsOf<T>(f_TD),
                               .bias = cuda::DataOrNull<T>(bias_D),
                               .out = cuda::RowsOf<T>(out),
                               .dbias_parts = cuda::DataOrNull<float>(partials_PD)};
    return cuda::VisitWidth<T>(op.columns, {da_TF, f_TD, bias_D, out}, [&]<int kWidth>() {
      const cuda::LaunchShape shape = {
          .grid = {cuda::NumBlocks(op.columns, cuda::kWarpSize * kWidth),
                   static_cast<unsigned>(parts.count)},
          .block = {cuda::kWarpSize, kGeluRows}};
      return HETERO_CUDA_LAUNCH((SwiGluKernel<T, kWidth, kBackward>), shape, stream, op);
    });
  });
}

}  // namespace

absl::Status GeluForwardCuda(GeluForm form, const ConstTensorView& f_TF,
                             const ConstTensorView& bias_F, const TensorView& a_TF,
                             Stream& stream) {
  const auto launch = form == GeluForm::kErf ? LaunchGelu<GeluForm::kErf, false>
                                             : LaunchGelu<GeluForm::kTanh, false>;
  return launch({}, f_TF, bias_F, a_TF, {}, stream);
}

absl::Status GeluBackwardCuda(const GeluBackwardArgs& args, const TensorView& partials_PF,
                              Stream& stream) {
  const auto launch = args.form == GeluForm::kErf ? LaunchGelu<GeluForm::kErf, true>
                                                  : LaunchGelu<GeluForm::kTanh, true>;
  HETERO_RETURN_IF_ERROR(
      launch(args.da_TF, args.f_TF, args.bias_F, args.df_TF, partials_PF, stream));
  if (args.dbias_F.is_null()) return absl::OkStatus();
  return cuda::FoldParts(partials_PF, args.accumulate, cuda::DensePlace{args.dbias_F.data<float>()},
                         stream);
}

absl::Status SwiGluForwardCuda(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                               const TensorView& a_TF, Stream& stream) {
  return LaunchSwiGlu<false>({}, f_TD, bias_D, a_TF, {}, stream);
}

absl::Status SwiGluBackwardCuda(const SwiGluBackwardArgs& args, const TensorView& partials_PD,
                                Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      LaunchSwiGlu<true>(args.da_TF, args.f_TD, args.bias_D, args.df_TD, partials_PD, stream));
  if (args.dbias_D.is_null()) return absl::OkStatus();
  return cuda::FoldParts(partials_PD, args.accumulate, cuda::DensePlace{args.dbias_D.data<float>()},
                         stream);
}

}  // namespace hetero::internal
