#include "hetero/tensor/ops/gemm/bias_cpu.h"

#include <algorithm>

#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_KERNEL void FillRows(const RowFill<T>& fill) {
  const T* const bias = fill.bias;
  for (int64_t t = 0; t < fill.rows; ++t) {
    T* const c = fill.c + t * fill.c_stride;
    if (fill.added == nullptr) {
      std::copy(bias, bias + fill.columns, c);
      continue;
    }
    const T* const added = fill.added + t * fill.added_stride;
    if (bias == nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < fill.columns; ++j) c[j] = fill.beta * added[j];
    } else {
#pragma omp simd
      for (int64_t j = 0; j < fill.columns; ++j) c[j] = bias[j] + fill.beta * added[j];
    }
  }
}

template <typename T>
HETERO_CPU_KERNEL void AddRows(const T* added, int64_t added_stride, T beta, T* c, int64_t c_stride,
                               int64_t rows, int64_t columns) {
  for (int64_t t = 0; t < rows; ++t) {
    const T* const from = added + t * added_stride;
    T* const to = c + t * c_stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) to[j] += beta * from[j];
  }
}

// Columns in register blocks: the sums stay in registers over all rows.
template <typename T>
HETERO_CPU_KERNEL void SumRows(const T* __restrict x, int64_t stride, int64_t rows, int64_t columns,
                               bool accumulate, T* __restrict sum) {
  constexpr int64_t kBlock = 512 / sizeof(T);
  for (int64_t begin = 0; begin < columns; begin += kBlock) {
    const int64_t width = std::min(kBlock, columns - begin);
    T total[kBlock];
    for (int64_t j = 0; j < width; ++j) total[j] = accumulate ? sum[begin + j] : T(0);
    if (width == kBlock) {
      for (int64_t t = 0; t < rows; ++t) {
        const T* row = x + t * stride + begin;
#pragma omp simd
        for (int64_t j = 0; j < kBlock; ++j) total[j] += row[j];
      }
    } else {
      for (int64_t t = 0; t < rows; ++t) {
        const T* row = x + t * stride + begin;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) total[j] += row[j];
      }
    }
    for (int64_t j = 0; j < width; ++j) sum[begin + j] = total[j];
  }
}

}  // namespace

template <>
void FillRowsCpu(const RowFill<float>& fill) {
  cpu::RunKernel<FillRows<float>>(fill);
}
template <>
void FillRowsCpu(const RowFill<double>& fill) {
  cpu::RunKernel<FillRows<double>>(fill);
}
template <>
void AddRowsCpu(const float* added, int64_t added_stride, float beta, float* c, int64_t c_stride,
                int64_t rows, int64_t columns) {
  cpu::RunKernel<AddRows<float>>(added, added_stride, beta, c, c_stride, rows, columns);
}
template <>
void AddRowsCpu(const double* added, int64_t added_stride, double beta, double* c, int64_t c_stride,
                int64_t rows, int64_t columns) {
  cpu::RunKernel<AddRows<double>>(added, added_stride, beta, c, c_stride, rows, columns);
}
void SumRowsCpu(const float* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                float* sum) {
  cpu::RunKernel<SumRows<float>>(x, stride, rows, columns, accumulate, sum);
}
void SumRowsCpu(const double* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                double* sum) {
  cpu::RunKernel<SumRows<double>>(x, stride, rows, columns, accumulate, sum);
}

}  // namespace hetero::internal
