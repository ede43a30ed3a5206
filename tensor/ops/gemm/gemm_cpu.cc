#include "hetero/tensor/ops/gemm/gemm_cpu.h"

#include <algorithm>
#include <type_traits>

#include "cblas.h"

namespace hetero::cpu {
namespace {

// A rank is one thread; the library's own pool would fight over the cores with other ranks.
void UseOneThread() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

// The sum over no terms: what is left of c.
template <typename T>
void ScaleRows(int64_t m, int64_t n, T beta, T* c, int64_t stride_c) {
  for (int64_t i = 0; i < m; ++i) {
    T* row = c + i * stride_c;
    if (beta == T(0)) {
      std::fill(row, row + n, T(0));
    } else {
      for (int64_t j = 0; j < n; ++j) row[j] *= beta;
    }
  }
}

}  // namespace

template <typename T>
void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
          int64_t stride_a, const T* b, int64_t stride_b, T beta, T* c, int64_t stride_c) {
  if (m == 0 || n == 0) return;
  if (k == 0) return ScaleRows(m, n, beta, c, stride_c);
  UseOneThread();
  const CBLAS_TRANSPOSE op_a = transpose_a ? CblasTrans : CblasNoTrans;
  const CBLAS_TRANSPOSE op_b = transpose_b ? CblasTrans : CblasNoTrans;
  if constexpr (std::is_same_v<T, float>) {
    cblas_sgemm(CblasRowMajor, op_a, op_b, m, n, k, alpha, a, stride_a, b, stride_b, beta, c,
                stride_c);
  } else {
    cblas_dgemm(CblasRowMajor, op_a, op_b, m, n, k, alpha, a, stride_a, b, stride_b, beta, c,
                stride_c);
  }
}

template void Gemm<float>(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t,
                          const float*, int64_t, float, float*, int64_t);
template void Gemm<double>(bool, bool, int64_t, int64_t, int64_t, double, const double*, int64_t,
                           const double*, int64_t, double, double*, int64_t);

}  // namespace hetero::cpu
