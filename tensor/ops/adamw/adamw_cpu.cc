#include <cmath>
#include <cstdint>

#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {
namespace {

template <typename T>
struct Factors {
  T scale, beta1, rest1, beta2, rest2;  // rest = 1 - beta, rounded once
  T first_correction, second_correction, epsilon, learning_rate, decay;
};

template <typename T>
HETERO_CPU_KERNEL void Update(T* __restrict p, const T* __restrict g, T* __restrict m,
                              T* __restrict v, int64_t n, const Factors<T> f) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T gradient = f.scale * g[i];
    const T first = f.beta1 * m[i] + f.rest1 * gradient;
    const T second = f.beta2 * v[i] + f.rest2 * gradient * gradient;
    const T direction =
        f.first_correction * first / (std::sqrt(f.second_correction * second) + f.epsilon);
    m[i] = first;
    v[i] = second;
    p[i] -= f.learning_rate * (direction + f.decay * p[i]);
  }
}

}  // namespace

absl::Status AdamWCpu(const AdamWArgs& args) {
  const double* const decisions = args.decisions.data<double>();
  return VisitFloat(args.parameter_N.dtype(), [&]<typename T>() {
    if (decisions[kUpdateApply] == 0) return;
    Factors<T> factors = {.scale = static_cast<T>(decisions[kUpdateScale]),
                          .beta1 = static_cast<T>(args.beta1),
                          .rest1 = static_cast<T>(1 - args.beta1),
                          .beta2 = static_cast<T>(args.beta2),
                          .rest2 = static_cast<T>(1 - args.beta2),
                          .first_correction = static_cast<T>(args.first_correction),
                          .second_correction = static_cast<T>(args.second_correction),
                          .epsilon = static_cast<T>(args.epsilon),
                          .learning_rate = static_cast<T>(args.learning_rate),
                          .decay = T(0)};
    for (const AdamWSegment& segment : args.segments) {
      factors.decay = static_cast<T>(segment.weight_decay);
      cpu::RunKernel<Update<T>>(
          args.parameter_N.data<T>() + segment.begin, args.gradient_N.data<T>() + segment.begin,
          args.first_moment_N.data<T>() + segment.begin,
          args.second_moment_N.data<T>() + segment.begin, segment.count, factors);
      if (args.rounded_N.is_null()) continue;
      for (int64_t i = segment.begin; i < segment.begin + segment.count; ++i) {
        args.rounded_N.data<BFloat16>()[i] =
            BFloat16(static_cast<float>(args.parameter_N.data<T>()[i]));
      }
    }
  });
}

}  // namespace hetero::internal
