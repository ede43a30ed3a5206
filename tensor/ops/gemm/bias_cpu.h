#ifndef HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_
#define HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_

#include <cstdint>

namespace hetero::internal {

// c[t, :] = bias + beta added[t, :]. One of the two may be null: zero. `added` may be c.
template <typename T>
struct RowFill {
  const T* bias = nullptr;
  const T* added = nullptr;
  int64_t added_stride = 0;
  T beta = 0;
  T* c;
  int64_t c_stride;
  int64_t rows, columns;
};
template <typename T>
void FillRowsCpu(const RowFill<T>& fill);
template <>
void FillRowsCpu(const RowFill<float>& fill);
template <>
void FillRowsCpu(const RowFill<double>& fill);

// c[t, :] += beta added[t, :].
template <typename T>
void AddRowsCpu(const T* added, int64_t added_stride, T beta, T* c, int64_t c_stride, int64_t rows,
                int64_t columns);
template <>
void AddRowsCpu(const float*, int64_t, float, float*, int64_t, int64_t, int64_t);
template <>
void AddRowsCpu(const double*, int64_t, double, double*, int64_t, int64_t, int64_t);

// sum = Σ_t x[t, :] in row order, added to sum if `accumulate`.
void SumRowsCpu(const float* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                float* sum);
void SumRowsCpu(const double* x, int64_t stride, int64_t rows, int64_t columns, bool accumulate,
                double* sum);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_GEMM_BIAS_CPU_H_
