#ifndef HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_
#define HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_

#include <cstdint>

namespace hetero::internal {

// y[t, :] = bias.
void FillRowsCpu(const float* bias, float* y, int64_t rows, int64_t columns, int64_t stride);
void FillRowsCpu(const double* bias, double* y, int64_t rows, int64_t columns, int64_t stride);

// sum = Σ_t x[t, :] in row order, added to sum if `accumulate`.
void SumRowsCpu(const float* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                float* sum);
void SumRowsCpu(const double* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                double* sum);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_
