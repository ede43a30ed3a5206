// Maximum and sum of contiguous elements, once for each instruction set: include after
// foreach_target.h. Written out because without leave to reorder sums or to ignore NaN the compiler
// does most of either one element at a time.

#if defined(HETERO_TENSOR_OPS_CPU_FOLD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HETERO_TENSOR_OPS_CPU_FOLD_INL_H_
#undef HETERO_TENSOR_OPS_CPU_FOLD_INL_H_
#else
#define HETERO_TENSOR_OPS_CPU_FOLD_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::cpu::HWY_NAMESPACE {

struct LargerOf {
  template <class V>
  static HWY_INLINE V OfVectors(V a, V b) {
    return Max(a, b);
  }
  template <typename T>
  static HWY_INLINE T OfElements(T a, T b) {
    return b > a ? b : a;
  }
};

struct SumOf {
  template <class V>
  static HWY_INLINE V OfVectors(V a, V b) {
    return Add(a, b);
  }
  template <typename T>
  static HWY_INLINE T OfElements(T a, T b) {
    return a + b;
  }
};

// Folds the lanes, half by half.
template <class Combine, class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE hwy::HWY_NAMESPACE::TFromD<D> FoldLanes(D d, V vector) {
  if constexpr (hwy::HWY_NAMESPACE::MaxLanes(d) == 1) {
    return GetLane(vector);
  } else {
    const hwy::HWY_NAMESPACE::Half<D> half;
    return FoldLanes<Combine>(half,
                              Combine::OfVectors(LowerHalf(half, vector), UpperHalf(half, vector)));
  }
}

// Works on 64 bytes at a time, so that the order depends on the number of elements alone and not on
// the width of a vector.
template <class Combine, typename T>
HWY_INLINE T Fold(const T* x, int64_t n) {
  constexpr int64_t kStep = 64 / static_cast<int64_t>(sizeof(T));
  const hwy::HWY_NAMESPACE::CappedTag<T, kStep> d;
  using Vector = hwy::HWY_NAMESPACE::Vec<decltype(d)>;
  constexpr int64_t kLanes = hwy::HWY_NAMESPACE::MaxLanes(d);
  static_assert(kStep == kLanes || kStep == 2 * kLanes, "vectors are of 32 or 64 bytes");
  T result = x[0];
  int64_t i = 1;
  if (n >= kStep) {
    Vector lower = LoadU(d, x);
    if constexpr (kStep == kLanes) {
      for (i = kStep; i + kStep <= n; i += kStep) {
        lower = Combine::OfVectors(lower, LoadU(d, x + i));
      }
    } else {
      Vector upper = LoadU(d, x + kLanes);
      for (i = kStep; i + kStep <= n; i += kStep) {
        lower = Combine::OfVectors(lower, LoadU(d, x + i));
        upper = Combine::OfVectors(upper, LoadU(d, x + i + kLanes));
      }
      lower = Combine::OfVectors(lower, upper);
    }
    result = FoldLanes<Combine>(d, lower);
  }
  for (; i < n; ++i) result = Combine::OfElements(result, x[i]);
  return result;
}

// Precondition: n > 0; no element is NaN.
template <typename T>
HWY_INLINE T Maximum(const T* x, int64_t n) {
  return Fold<LargerOf>(x, n);
}

// Precondition: n > 0.
template <typename T>
HWY_INLINE T Sum(const T* x, int64_t n) {
  return Fold<SumOf>(x, n);
}

}  // namespace hetero::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled for each target
