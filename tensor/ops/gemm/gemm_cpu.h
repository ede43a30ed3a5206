#ifndef HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_
#define HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_

// Products on raw pointers, for use inside other CPU kernels.

#include <cstdint>

#include "absl/status/status.h"

namespace hetero::cpu {

// Readies the products' library for the calling thread. The first product does it too, but other
// threads may by then race for the memory: where that is short, call it while there are none.
// Errors: RESOURCE_EXHAUSTED where there is no memory for the code that the library generates.
absl::Status PrepareProducts();

// Row-major c[m,n] = alpha op(a)[m,k] op(b)[k,n] + beta c, on the calling thread alone. Strides
// count elements between rows as stored. beta = 0: c is not read. f32 is oneDNN's; f64, which only
// checks of gradients use, is a packed copy of b and register tiles.
// Errors: RESOURCE_EXHAUSTED where there is no memory for packed operands.
template <typename T>
absl::Status Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha,
                  const T* a, int64_t stride_a, const T* b, int64_t stride_b, T beta, T* c,
                  int64_t stride_c);

template <>
absl::Status Gemm(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*,
                  int64_t, float, float*, int64_t);
template <>
absl::Status Gemm(bool, bool, int64_t, int64_t, int64_t, double, const double*, int64_t,
                  const double*, int64_t, double, double*, int64_t);

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_
