#include "hetero/tensor/ops/ssd/small_gemm_cpu.h"

#include <algorithm>

#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

// A vector that may lie at any element's address.
template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(64), aligned(alignof(T)), may_alias));
};

template <int kRows, int kVectors, typename T>
[[gnu::always_inline]] inline void Tile(const SmallGemmArgs<T>& g, int64_t i, int64_t j) {
  using Vector = typename VectorOf<T>::Type;
  constexpr int64_t kWidth = kVectorElements<T>;
  const int64_t k_begin = g.a_shape == Triangle::kUpper ? std::min(i, g.k) : 0;
  const int64_t k_end = g.a_shape == Triangle::kLower ? std::min(i + kRows, g.k) : g.k;
  const T* a = g.a + i * g.a_row_stride + k_begin * g.a_column_stride;
  const T* b = g.b + j + k_begin * g.b_row_stride;
  T* c = g.c + i * g.c_row_stride + j;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = g.accumulate
                      ? *reinterpret_cast<const Vector*>(c + r * g.c_row_stride + v * kWidth)
                      : Vector{};
    }
  }
  for (int64_t k = k_begin; k < k_end; ++k) {
    Vector b_row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      b_row[v] = *reinterpret_cast<const Vector*>(b + v * kWidth);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const T factor = a[r * g.a_row_stride];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] += factor * b_row[v];
    }
    a += g.a_column_stride;
    b += g.b_row_stride;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      *reinterpret_cast<Vector*>(c + r * g.c_row_stride + v * kWidth) = sum[r][v];
    }
  }
}

template <int kRows, int kVectors, typename T>
[[gnu::always_inline]] inline void Columns(const SmallGemmArgs<T>& g, int64_t j) {
  int64_t i = 0;
  for (; i + kRows <= g.m; i += kRows) Tile<kRows, kVectors>(g, i, j);
  for (; i < g.m; ++i) Tile<1, kVectors>(g, i, j);
}

// Eight accumulators keep two multiply-add units of latency four busy.
template <typename T>
[[gnu::always_inline]] inline void Run(const SmallGemmArgs<T>& g) {
  constexpr int64_t kWidth = kVectorElements<T>;
  int64_t j = 0;
  for (; j + 2 * kWidth <= g.n; j += 2 * kWidth) Columns<4, 2>(g, j);
  if (j < g.n) Columns<8, 1>(g, j);
}

}  // namespace

HETERO_CPU_CLONES void SmallGemm(const SmallGemmArgs<float>& args) { Run(args); }
HETERO_CPU_CLONES void SmallGemm(const SmallGemmArgs<double>& args) { Run(args); }

}  // namespace hetero::internal
