#ifndef HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_
#define HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_

// A matrix product for operands that fit the first cache level, where a BLAS call's packing costs
// more than it gains: tiles of c stay in registers over all of k.

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hetero::cpu {

namespace internal {

template <typename T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(64), may_alias));
  static constexpr int64_t kCount = 64 / sizeof(T);
};

// Folds all vectors of x[0, n) and then their lanes, half by half, with `combine(a, b)`, which
// puts the result in a: a vector returned by value would depend on the instruction set.
template <int kHalf, typename T, typename Combine, size_t... kLane>
[[gnu::always_inline]] inline T FoldLanes(typename Lanes<T>::Vector& vector, Combine combine,
                                          std::index_sequence<kLane...> lanes) {
  const typename Lanes<T>::Vector swapped =
      __builtin_shufflevector(vector, vector, (kLane ^ kHalf)...);
  combine(vector, swapped);
  if constexpr (kHalf > 1) {
    return FoldLanes<kHalf / 2, T>(vector, combine, lanes);
  } else {
    return vector[0];
  }
}

template <typename T, typename Combine>
[[gnu::always_inline]] inline T Fold(const T* x, int64_t n, Combine combine) {
  using Vector = typename Lanes<T>::Vector;
  constexpr int64_t kLanes = Lanes<T>::kCount;
  Vector total = *reinterpret_cast<const Vector*>(x);
  for (int64_t i = kLanes; i < n; i += kLanes) {
    combine(total, *reinterpret_cast<const Vector*>(x + i));
  }
  return FoldLanes<kLanes / 2, T>(total, combine, std::make_index_sequence<kLanes>());
}

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

// The largest and the sum of n elements, n a positive multiple of 64 bytes, x on a 64-byte
// boundary; no NaN for the maximum. Written out because without leave to reorder sums or to ignore
// NaN the compiler does most of either one element at a time.
template <typename T>
[[gnu::always_inline]] inline T Maximum(const T* x, int64_t n) {
  return internal::Fold(
      x, n, [](auto& a, const auto& b) __attribute__((always_inline)) { a = b > a ? b : a; });
}

template <typename T>
[[gnu::always_inline]] inline T Sum(const T* x, int64_t n) {
  return internal::Fold(
      x, n, [](auto& a, const auto& b) __attribute__((always_inline)) { a += b; });
}

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_ATTENTION_REGISTER_PRODUCT_H_
