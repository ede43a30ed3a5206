#ifndef HETERO_TENSOR_OPS_CPU_FOLD_H_
#define HETERO_TENSOR_OPS_CPU_FOLD_H_

// Maximum and sum of contiguous elements, for use in functions marked HETERO_CPU_CLONES. Written
// out because without leave to reorder sums or to ignore NaN the compiler does most of either one
// element at a time. The order of the sum depends on the number of elements alone.

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hetero::cpu {

namespace internal {

template <typename T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(64), may_alias));
  typedef T UnalignedVector __attribute__((vector_size(64), may_alias, aligned(sizeof(T))));
  static constexpr int64_t kCount = 64 / sizeof(T);
};

// Folds the lanes, half by half, with `combine(a, b)`, which puts the result in a: a vector
// returned by value would depend on the instruction set.
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
  using UnalignedVector = typename Lanes<T>::UnalignedVector;
  constexpr int64_t kLanes = Lanes<T>::kCount;
  T result = x[0];
  int64_t i = 1;
  if (n >= kLanes) {
    Vector total = *reinterpret_cast<const UnalignedVector*>(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Vector next = *reinterpret_cast<const UnalignedVector*>(x + i);
      combine(total, next);
    }
    result = FoldLanes<kLanes / 2, T>(total, combine, std::make_index_sequence<kLanes>());
  }
  for (; i < n; ++i) combine(result, x[i]);
  return result;
}

}  // namespace internal

// Precondition: n > 0; no element is NaN.
template <typename T>
[[gnu::always_inline]] inline T Maximum(const T* x, int64_t n) {
  return internal::Fold(
      x, n, [](auto& a, const auto& b) __attribute__((always_inline)) { a = b > a ? b : a; });
}

// Precondition: n > 0.
template <typename T>
[[gnu::always_inline]] inline T Sum(const T* x, int64_t n) {
  return internal::Fold(
      x, n, [](auto& a, const auto& b) __attribute__((always_inline)) { a += b; });
}

}  // namespace hetero::cpu

#endif  // HETERO_TENSOR_OPS_CPU_FOLD_H_
