#ifndef HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_
#define HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_

// A matrix product for operands that fit the first cache level, where a BLAS call's packing costs
// more than it gains: tiles of c stay in registers over all of k.

#include <cstdint>

#include "hetero/tensor/ops/cpu_fold.h"

namespace hetero::cpu {

namespace internal {

template <typename T, int kRows, int kVectors, bool kAdd>
[[gnu::always_inline]] inline void Tile(int64_t k, const T* a, int64_t a_row, int64_t a_column,
                                        const T* b, int64_t b_row, T* c, int64_t c_row) {
  using Vector = typename Lanes<T>::Vector;
  constexpr int64_t kLanes = Lanes<T>::kCount;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = kAdd ? *reinterpret_cast<const Vector*>(c + r * c_row + v * kLanes) : Vector{};
    }
  }
  for (int64_t l = 0; l < k; ++l) {
    Vector b_vector[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      b_vector[v] = *reinterpret_cast<const Vector*>(b + l * b_row + v * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const T a_element = a[r * a_row + l * a_column];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] += a_element * b_vector[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      *reinterpret_cast<Vector*>(c + r * c_row + v * kLanes) = sum[r][v];
    }
  }
}

template <typename T, int kRows, int kVectors, bool kAdd>
[[gnu::always_inline]] inline void TileColumn(int64_t m, int64_t k, const T* a, int64_t a_row,
                                              int64_t a_column, const T* b, int64_t b_row, T* c,
                                              int64_t c_row) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) {
    Tile<T, kRows, kVectors, kAdd>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row,
                                   c_row);
  }
  for (; i < m; ++i) {
    Tile<T, 1, kVectors, kAdd>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row);
  }
}

}  // namespace internal

// c[m,n] = (c if kAdd) + a[m,k] b[k,n]. Element (i, l) of a is a[i a_row + l a_column]; b and c
// have contiguous rows. Preconditions: n is a multiple of 64 bytes; b, c and their rows start on
// 64-byte boundaries; c overlaps neither a nor b. For use in functions marked HETERO_CPU_CLONES.
template <bool kAdd, typename T>
[[gnu::always_inline]] inline void RegisterProduct(int64_t m, int64_t n, int64_t k, const T* a,
                                                   int64_t a_row, int64_t a_column, const T* b,
                                                   int64_t b_row, T* c, int64_t c_row) {
  constexpr int64_t kLanes = internal::Lanes<T>::kCount;
  int64_t j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
    internal::TileColumn<T, 4, 2, kAdd>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row);
  }
  if (j < n) {
    internal::TileColumn<T, 8, 1, kAdd>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row);
  }
}

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_
