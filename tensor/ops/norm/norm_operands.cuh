#ifndef HETERO_TENSOR_OPS_NORM_NORM_OPERANDS_CUH_
#define HETERO_TENSOR_OPS_NORM_NORM_OPERANDS_CUH_

// What the kernels of row normalisations work on.

#include <cstdint>

#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {

template <typename T>
struct NormForwardOperands {
  int64_t rows, columns;
  cuda::Rows<const T> x, residual;
  const T* weight;
  const T* bias;
  cuda::Rows<T> sum, y;
  float* mean;
  float* rstd;
  float epsilon;
};

template <typename T>
struct NormBackwardOperands {
  int64_t rows, columns, rows_per_part;
  cuda::Rows<const T> dy, x, dsum;
  const T* weight;
  const float* mean;
  const float* rstd;
  cuda::Rows<T> dx;
  float* dweight_parts;  // [parts, columns]
  float* dbias_parts;
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_NORM_NORM_OPERANDS_CUH_
