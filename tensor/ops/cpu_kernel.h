#ifndef HETERO_TENSOR_OPS_CPU_KERNEL_H_
#define HETERO_TENSOR_OPS_CPU_KERNEL_H_

// What CPU kernels share. A kernel is plain code over pointers, marked HETERO_CPU_CLONES: the
// compiler emits it for the baseline (x86-64-v3) and for AVX-512 and the loader picks one. Loops
// over contiguous elements carry `#pragma omp simd`; sums also `reduction(+:s)`, which fixes their
// order for one instruction set. The math functions below inline into such loops in f32 and fall
// back to the C library in f64, where gradient checks want its accuracy.
//
//   template <typename T>
//   HETERO_CPU_CLONES void SiluKernel(const T* x, T* y, int64_t n) { ... }
//
//   return VisitFloat(x.dtype(), [&]<typename T>() {
//     SiluKernel(x.data<T>(), y.data<T>(), x.num_elements());
//   });

#include <bit>
#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/tensor/dtype.h"

// The sanitizers' runtimes are not up when the loader resolves clones.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
#define HETERO_CPU_CLONES
#else
#define HETERO_CPU_CLONES __attribute__((target_clones("arch=x86-64-v4", "default")))
#endif

namespace hetero {

// Calls `function.template operator()<T>()` with float or double.
// Errors: INVALID_ARGUMENT for every other type: the CPU computes in f32 and f64 only.
template <typename Function>
absl::Status VisitFloat(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kF32:
      function.template operator()<float>();
      return absl::OkStatus();
    case DType::kF64:
      function.template operator()<double>();
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("the cpu computes in f32 and f64, not in ", Name(dtype)));
  }
}

namespace cpu {

inline double Exp(double x) { return std::exp(x); }

// Relative error below 2 ulp; 0 below -87.3 and finite above 88.4 saturate.
// Cody-Waite reduction and the minimax polynomial of Cephes (S. Moshier, expf).
inline float Exp(float x) {
  const float clamped = x < -87.3f ? -87.3f : (x > 88.3f ? 88.3f : x);
  const float n = std::nearbyint(clamped * 1.44269504088896341f);
  float r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.3f ? 0.0f : p * scale;
}

template <typename T>
inline T Sigmoid(T x) {
  return T(1) / (T(1) + Exp(-x));
}

// log(1 + exp(x)) without overflow, and without loss for very negative x.
inline double Softplus(double x) {
  return (x > 0.0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

// Relative error below 4 ulp. log(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3 for e <= 1; the
// first omitted term of the series is below 2e-9 of the sum.
inline float Softplus(float x) {
  const float e = Exp(-std::fabs(x));
  const float s = e / (2.0f + e);
  const float s2 = s * s;
  float p = 1.0f / 15;
  p = p * s2 + 1.0f / 13;
  p = p * s2 + 1.0f / 11;
  p = p * s2 + 1.0f / 9;
  p = p * s2 + 1.0f / 7;
  p = p * s2 + 1.0f / 5;
  p = p * s2 + 1.0f / 3;
  p = p * s2 + 1.0f;
  return (x > 0.0f ? x : 0.0f) + 2.0f * s * p;
}

}  // namespace cpu
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CPU_KERNEL_H_
