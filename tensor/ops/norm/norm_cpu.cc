#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero::internal {
namespace {

// First element and distance between rows; null where the operand is absent.
template <typename T>
struct Matrix {
  T* data = nullptr;
  int64_t stride = 0;

  T* Row(int64_t t) const { return data == nullptr ? nullptr : data + t * stride; }
};

template <typename T>
Matrix<const T> Read(const ConstTensorView& view) {
  return view.is_null() ? Matrix<const T>{} : Matrix<const T>{view.data<T>(), view.stride(0)};
}

template <typename T>
Matrix<T> Write(const TensorView& view) {
  return view.is_null() ? Matrix<T>{} : Matrix<T>{view.data<T>(), view.stride(0)};
}

template <typename T>
T* DataOrNull(const TensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}

template <typename T>
struct ForwardOperands {
  int64_t rows, columns;
  Matrix<const T> x, residual;
  const T* weight;
  const T* bias;
  Matrix<T> sum, y;
  T* mean;
  T* rstd;
  T epsilon;
};

template <typename T, bool kCentered>
HETERO_CPU_KERNEL void Forward(const ForwardOperands<T>& op) {
  // Locals: the vectoriser reloads a member in every lane.
  const int64_t columns = op.columns;
  const T* const weight = op.weight;
  [[maybe_unused]] const T* const bias = op.bias;
  const T scale = T(1) / static_cast<T>(columns);
  for (int64_t t = 0; t < op.rows; ++t) {
    const T* x = op.x.Row(t);
    if (const T* residual = op.residual.Row(t); residual != nullptr) {
      T* sum = op.sum.Row(t);
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) sum[c] = x[c] + residual[c];
      x = sum;
    }
    T mean = 0;
    if constexpr (kCentered) {
#pragma omp simd reduction(+ : mean)
      for (int64_t c = 0; c < columns; ++c) mean += x[c];
      mean *= scale;
      op.mean[t] = mean;
    }
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < columns; ++c) squares += (x[c] - mean) * (x[c] - mean);
    const T rstd = T(1) / std::sqrt(squares * scale + op.epsilon);
    op.rstd[t] = rstd;
    T* y = op.y.Row(t);
    if constexpr (kCentered) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        y[c] = (x[c] - mean) * rstd * weight[c] + bias[c];
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) y[c] = x[c] * rstd * weight[c];
    }
  }
}

template <typename T>
struct BackwardOperands {
  int64_t rows, columns;
  Matrix<const T> dy, x, dsum;
  const T* weight;
  const T* mean;
  const T* rstd;
  Matrix<T> dx;
  T* dweight;
  T* dbias;
};

template <typename T, bool kCentered>
HETERO_CPU_KERNEL void Backward(const BackwardOperands<T>& op) {
  const int64_t columns = op.columns;
  const T* const weight = op.weight;
  T* const dweight = op.dweight;
  [[maybe_unused]] T* const dbias = op.dbias;
  const T scale = T(1) / static_cast<T>(columns);
  for (int64_t t = 0; t < op.rows; ++t) {
    const T* dy = op.dy.Row(t);
    const T* x = op.x.Row(t);
    const T mean = kCentered ? op.mean[t] : T(0);
    const T rstd = op.rstd[t];
    if (dweight != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) dweight[c] += dy[c] * ((x[c] - mean) * rstd);
      if constexpr (kCentered) {
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) dbias[c] += dy[c];
      }
    }
    T* dx = op.dx.Row(t);
    if (dx == nullptr) continue;
    T mean_g = 0;
    T mean_gx = 0;
#pragma omp simd reduction(+ : mean_g, mean_gx)
    for (int64_t c = 0; c < columns; ++c) {
      const T g = weight[c] * dy[c];
      mean_g += g;
      mean_gx += g * ((x[c] - mean) * rstd);
    }
    mean_g = kCentered ? mean_g * scale : T(0);
    mean_gx *= scale;
    if (const T* dsum = op.dsum.Row(t); dsum != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        const T x_hat = (x[c] - mean) * rstd;
        dx[c] = dsum[c] + rstd * (weight[c] * dy[c] - mean_g - x_hat * mean_gx);
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        const T x_hat = (x[c] - mean) * rstd;
        dx[c] = rstd * (weight[c] * dy[c] - mean_g - x_hat * mean_gx);
      }
    }
  }
}

}  // namespace

absl::Status NormForwardCpu(const NormForwardArgs& args, bool centered) {
  return VisitFloat(args.x_TC.dtype(), [&]<typename T>() {
    const ForwardOperands<T> op{.rows = args.x_TC.dim(0),
                                .columns = args.x_TC.dim(1),
                                .x = Read<T>(args.x_TC),
                                .residual = Read<T>(args.residual_TC),
                                .weight = args.weight_C.data<T>(),
                                .bias = centered ? args.bias_C.data<T>() : nullptr,
                                .sum = Write<T>(args.sum_TC),
                                .y = Write<T>(args.y_TC),
                                .mean = centered ? args.mean_T.data<T>() : nullptr,
                                .rstd = args.rstd_T.data<T>(),
                                .epsilon = static_cast<T>(args.epsilon)};
    centered ? cpu::RunKernel<Forward<T, true>>(op) : cpu::RunKernel<Forward<T, false>>(op);
  });
}

absl::Status NormBackwardCpu(const NormBackwardArgs& args, bool centered) {
  return VisitFloat(args.x_TC.dtype(), [&]<typename T>() {
    const BackwardOperands<T> op{.rows = args.x_TC.dim(0),
                                 .columns = args.x_TC.dim(1),
                                 .dy = Read<T>(args.dy_TC),
                                 .x = Read<T>(args.x_TC),
                                 .dsum = Read<T>(args.dsum_TC),
                                 .weight = args.weight_C.data<T>(),
                                 .mean = centered ? args.mean_T.data<T>() : nullptr,
                                 .rstd = args.rstd_T.data<T>(),
                                 .dx = Write<T>(args.dx_TC),
                                 .dweight = DataOrNull<T>(args.dweight_C),
                                 .dbias = DataOrNull<T>(args.dbias_C)};
    if (!args.accumulate && op.dweight != nullptr) {
      std::fill_n(op.dweight, op.columns, T(0));
      if (centered) std::fill_n(op.dbias, op.columns, T(0));
    }
    centered ? cpu::RunKernel<Backward<T, true>>(op) : cpu::RunKernel<Backward<T, false>>(op);
  });
}

}  // namespace hetero::internal
