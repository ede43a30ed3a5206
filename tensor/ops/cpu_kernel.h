#ifndef HETERO_TENSOR_OPS_CPU_KERNEL_H_
#define HETERO_TENSOR_OPS_CPU_KERNEL_H_

// What CPU kernels share. A kernel is plain code over pointers, marked HETERO_CPU_KERNEL and called
// through cpu::RunKernel: the compiler emits it for the baseline (x86-64-v3) and for AVX-512, and
// cpu_target.h says which of the two runs. Loops over contiguous elements carry `#pragma omp simd`;
// sums also `reduction(+:s)`, which fixes their order for one instruction set. The math functions
// below inline into such loops in f32 and fall back to the C library in f64, where gradient checks
// want its accuracy.
//
//   template <typename T>
//   HETERO_CPU_KERNEL void SiluKernel(const T* x, T* y, int64_t n) { ... }
//
//   return VisitFloat(x.dtype(), [&]<typename T>() {
//     cpu::RunKernel<SiluKernel<T>>(x.data<T>(), y.data<T>(), x.num_elements());
//   });
//
// A kernel whose vectors the compiler does not find is written in Highway, whose foreach_target.h
// compiles its file once for each of the same two: attention_cpu.cc is an example.

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/ops/cpu_target.h"

// Where a kernel and what it calls are inlined decides the instructions they are compiled for: the
// functions of a kernel carry it too, its lambdas __attribute__((always_inline)).
#define HETERO_CPU_KERNEL [[gnu::always_inline]] inline

namespace hetero {

// Calls `function.template operator()<T>()`, which returns nothing or a Status, with float or
// double. Errors: the function's; INVALID_ARGUMENT for every other type: the CPU computes in f32
// and f64 only.
template <typename Function>
absl::Status VisitFloat(DType dtype, Function&& function) {
  const auto visit = [&]<typename T>() -> absl::Status {
    if constexpr (std::is_void_v<decltype(function.template operator()<T>())>) {
      function.template operator()<T>();
      return absl::OkStatus();
    } else {
      return function.template operator()<T>();
    }
  };
  switch (dtype) {
    case DType::kF32:
      return visit.template operator()<float>();
    case DType::kF64:
      return visit.template operator()<double>();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("the cpu computes in f32 and f64, not in ", Name(dtype)));
  }
}

namespace cpu {

template <auto kKernel, typename... Arguments>
[[gnu::noinline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void RunForAvx512(
    Arguments&&... arguments) {
  kKernel(std::forward<Arguments>(arguments)...);
}

// Runs a kernel as it is compiled for the chosen target.
template <auto kKernel, typename... Arguments>
void RunKernel(Arguments&&... arguments) {
  if (ChosenCpuTarget() == CpuTarget::kAvx512) {
    RunForAvx512<kKernel>(std::forward<Arguments>(arguments)...);
  } else {
    kKernel(std::forward<Arguments>(arguments)...);
  }
}

inline double Exp(double x) { return std::exp(x); }

// Relative error below 2 ulp; 0 below -87.3 and finite above 88.4 saturate.
// Cody-Waite reduction and the minimax polynomial of Cephes (S. Moshier, expf).
HETERO_CPU_KERNEL float Exp(float x) {
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
HETERO_CPU_KERNEL T Sigmoid(T x) {
  return T(1) / (T(1) + Exp(-x));
}

// log(1 + exp(x)) without overflow, and without loss for very negative x.
inline double Softplus(double x) {
  return (x > 0.0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

// Relative error below 4 ulp. log(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3 for e <= 1; the
// first omitted term of the series is below 2e-9 of the sum.
HETERO_CPU_KERNEL float Softplus(float x) {
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
