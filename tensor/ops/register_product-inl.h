// Matrix products in registers, once for each instruction set: include after foreach_target.h.

#if defined(HETERO_TENSOR_OPS_REGISTER_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HETERO_TENSOR_OPS_REGISTER_PRODUCT_INL_H_
#undef HETERO_TENSOR_OPS_REGISTER_PRODUCT_INL_H_
#else
#define HETERO_TENSOR_OPS_REGISTER_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/register_product.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::cpu::HWY_NAMESPACE {

// Rows [i, i + kRows) and kVectors vectors of columns from j stay in registers over all of k. An
// element's terms are added in the order of k, whatever the width of a vector.
template <int kRows, int kVectors, typename T>
HWY_INLINE void ProductTile(const RegisterProductArgs<T>& g, int64_t i, int64_t j) {
  const hwy::HWY_NAMESPACE::CappedTag<T, kPaddedElements<T>> d;
  using Vector = hwy::HWY_NAMESPACE::Vec<decltype(d)>;
  constexpr int64_t kLanes = hwy::HWY_NAMESPACE::MaxLanes(d);
  const int64_t k_begin = g.a_shape == Triangle::kUpper ? std::min(i, g.k) : 0;
  const int64_t k_end = g.a_shape == Triangle::kLower ? std::min(i + kRows, g.k) : g.k;
  const T* a = g.a + i * g.a_row + k_begin * g.a_column;
  const T* b = g.b + j + k_begin * g.b_row;
  T* const c = g.c + i * g.c_row + j;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = g.accumulate ? LoadU(d, c + r * g.c_row + v * kLanes) : Zero(d);
    }
  }
  for (int64_t k = k_begin; k < k_end; ++k) {
    Vector b_vector[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) b_vector[v] = LoadU(d, b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector factor = Set(d, a[r * g.a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = MulAdd(factor, b_vector[v], sum[r][v]);
    }
    a += g.a_column;
    b += g.b_row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) StoreU(sum[r][v], d, c + r * g.c_row + v * kLanes);
  }
}

template <int kRows, int kVectors, typename T>
HWY_INLINE void ProductColumns(const RegisterProductArgs<T>& g, int64_t j) {
  int64_t i = 0;
  for (; i + kRows <= g.m; i += kRows) ProductTile<kRows, kVectors>(g, i, j);
  for (; i < g.m; ++i) ProductTile<1, kVectors>(g, i, j);
}

// Eight accumulators keep two multiply-add units of latency four busy, and sixteen registers hold
// them with their operands.
template <typename T>
HWY_NOINLINE void RegisterProduct(const RegisterProductArgs<T>& g) {
  const hwy::HWY_NAMESPACE::CappedTag<T, kPaddedElements<T>> d;
  constexpr int64_t kLanes = hwy::HWY_NAMESPACE::MaxLanes(d);
  int64_t j = 0;
  for (; j + 2 * kLanes <= g.n; j += 2 * kLanes) ProductColumns<4, 2>(g, j);
  for (; j < g.n; j += kLanes) ProductColumns<8, 1>(g, j);
}

}  // namespace hetero::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled for each target
