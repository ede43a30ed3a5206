#include "hetero/tensor/ops/gemm/bias_cpu.h"

#include <algorithm>

#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_KERNEL void FillRows(const T* bias, T* y, int64_t rows, int64_t columns,
                                int64_t stride) {
  for (int64_t t = 0; t < rows; ++t) std::copy(bias, bias + columns, y + t * stride);
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

void FillRowsCpu(const float* bias, float* y, int64_t rows, int64_t columns, int64_t stride) {
  cpu::RunKernel<FillRows<float>>(bias, y, rows, columns, stride);
}
void FillRowsCpu(const double* bias, double* y, int64_t rows, int64_t columns, int64_t stride) {
  cpu::RunKernel<FillRows<double>>(bias, y, rows, columns, stride);
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
