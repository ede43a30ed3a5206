#ifndef HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_
#define HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_

// Products on raw pointers, for use inside other CPU kernels.

#include <cstdint>

namespace hetero::cpu {

// Row-major c[m,n] = alpha op(a)[m,k] op(b)[k,n] + beta c, on the calling thread alone. Strides
// count elements between rows as stored. beta = 0: c is not read.
template <typename T>
void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
          int64_t stride_a, const T* b, int64_t stride_b, T beta, T* c, int64_t stride_c);

extern template void Gemm<float>(bool, bool, int64_t, int64_t, int64_t, float, const float*,
                                 int64_t, const float*, int64_t, float, float*, int64_t);
extern template void Gemm<double>(bool, bool, int64_t, int64_t, int64_t, double, const double*,
                                  int64_t, const double*, int64_t, double, double*, int64_t);

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_GEMM_GEMM_CPU_H_
