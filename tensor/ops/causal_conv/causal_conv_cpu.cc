#include <algorithm>
#include <type_traits>

#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

// Calls `function(std::integral_constant<int, count>())`. Precondition: 1 <= count <= 4.
template <typename Function>
HETERO_CPU_KERNEL void VisitTaps(int64_t count, Function&& function) {
  switch (count) {
    case 1:
      return function(std::integral_constant<int, 1>());
    case 2:
      return function(std::integral_constant<int, 2>());
    case 3:
      return function(std::integral_constant<int, 3>());
    default:
      return function(std::integral_constant<int, 4>());
  }
}

template <typename T>
struct Problem {
  Problem(const CausalConvInputs& inputs, TensorView weight_KC)
      : tokens(inputs.x_TC.dim(0)),
        channels(inputs.x_TC.dim(1)),
        taps(inputs.weight_CK.dim(1)),
        x(inputs.x_TC.data<T>()),
        x_stride(inputs.x_TC.stride(0)),
        weight(weight_KC.data<T>()),
        bias(inputs.bias_C.is_null() ? weight + taps * channels : inputs.bias_C.data<T>()),
        starts(inputs.sequences) {
    const T* weight_CK = inputs.weight_CK.data<T>();
    T* transposed = weight_KC.data<T>();
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t k = 0; k < taps; ++k) transposed[k * channels + c] = weight_CK[c * taps + k];
    }
    if (inputs.bias_C.is_null()) std::fill_n(transposed + taps * channels, channels, T(0));
  }

  // How many taps of token t lie in its sequence.
  int64_t TapsAt(int64_t t) const {
    int64_t count = 1;
    while (count < taps && !starts(t - count + 1)) ++count;
    return count;
  }
  // Weights of the last `count` taps.
  const T* WeightsOfLast(int64_t count) const { return weight + (taps - count) * channels; }

  int64_t tokens, channels, taps;
  const T* x;
  int64_t x_stride;
  const T* weight;  // [taps, channels]
  const T* bias;
  SequenceStarts starts;
};

template <typename T>
HETERO_CPU_KERNEL void ForwardKernel(const Problem<T>& problem, T* out, int64_t out_stride) {
  const int64_t channels = problem.channels;
  const int64_t stride = problem.x_stride;
  const T* bias = problem.bias;
  for (int64_t t = 0; t < problem.tokens; ++t) {
    VisitTaps(
        problem.TapsAt(t), [&](auto taps) __attribute__((always_inline)) {
          const T* x = problem.x + (t - taps + 1) * stride;
          const T* w = problem.WeightsOfLast(taps);
          T* y = out + t * out_stride;
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            T pre = bias[c];
            for (int j = 0; j < taps; ++j) pre += w[j * channels + c] * x[j * stride + c];
            y[c] = pre * cpu::Sigmoid(pre);
          }
        });
  }
}

template <typename T>
HETERO_CPU_KERNEL void BackwardKernel(const Problem<T>& problem, const T* d_out,
                                      int64_t d_out_stride, T* d_x, int64_t d_x_stride, T* ring,
                                      T* sums) {
  const int64_t channels = problem.channels;
  const int64_t stride = problem.x_stride;
  const T* bias = problem.bias;
  std::fill(sums, sums + (problem.taps + 1) * channels, T(0));
  T* bias_sum = sums + problem.taps * channels;
  int64_t readers = 0;  // tokens from t on, t included, that have t among their taps
  for (int64_t t = problem.tokens - 1; t >= 0; --t) {
    readers =
        t + 1 == problem.tokens || problem.starts(t + 1) ? 1 : std::min(readers + 1, problem.taps);
    T* d_pre = ring + t % problem.taps * channels;
    const int64_t taps_at_t = problem.TapsAt(t);
    VisitTaps(
        taps_at_t, [&](auto taps) __attribute__((always_inline)) {
          const T* x = problem.x + (t - taps + 1) * stride;
          const T* w = problem.WeightsOfLast(taps);
          const T* dy = d_out + t * d_out_stride;
          T* sum = sums + (problem.taps - taps) * channels;
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            T pre = bias[c];
            for (int j = 0; j < taps; ++j) pre += w[j * channels + c] * x[j * stride + c];
            const T s = cpu::Sigmoid(pre);
            const T g = dy[c] * s * (T(1) + pre * (T(1) - s));
            d_pre[c] = g;
            bias_sum[c] += g;
            for (int j = 0; j < taps; ++j) sum[j * channels + c] += g * x[j * stride + c];
          }
        });
    VisitTaps(
        readers, [&](auto count) __attribute__((always_inline)) {
          const T* newest_weight = problem.WeightsOfLast(1);
          T* dx = d_x + t * d_x_stride;
          const T* d_pre_of[count];
          for (int k = 0; k < count; ++k) d_pre_of[k] = ring + (t + k) % problem.taps * channels;
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            T g = T(0);
            for (int k = 0; k < count; ++k) g += newest_weight[c - k * channels] * d_pre_of[k][c];
            dx[c] = g;
          }
        });
  }
}

}  // namespace

absl::Status CausalConvForwardCpu(const CausalConvInputs& inputs, const TensorView& out_TC,
                                  const TensorView& weight_KC) {
  return VisitFloat(inputs.x_TC.dtype(), [&]<typename T>() {
    cpu::RunKernel<ForwardKernel<T>>(Problem<T>(inputs, weight_KC), out_TC.data<T>(),
                                     out_TC.stride(0));
  });
}

absl::Status CausalConvBackwardCpu(const CausalConvInputs& inputs, const ConstTensorView& d_out_TC,
                                   const CausalConvGradients& gradients,
                                   const TensorView& weight_KC, const TensorView& ring_KC,
                                   const TensorView& sums_KC) {
  return VisitFloat(inputs.x_TC.dtype(), [&]<typename T>() {
    const Problem<T> problem(inputs, weight_KC);
    const T* sums = sums_KC.data<T>();
    cpu::RunKernel<BackwardKernel<T>>(problem, d_out_TC.data<T>(), d_out_TC.stride(0),
                                      gradients.d_x_TC.data<T>(), gradients.d_x_TC.stride(0),
                                      ring_KC.data<T>(), sums_KC.data<T>());
    const auto put = [&](T& to, T value) { to = gradients.accumulate ? to + value : value; };
    const int64_t channels = problem.channels;
    if (!gradients.d_weight_CK.is_null()) {
      T* d_weight = gradients.d_weight_CK.data<T>();
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t k = 0; k < problem.taps; ++k) {
          put(d_weight[c * problem.taps + k], sums[k * channels + c]);
        }
      }
    }
    if (!gradients.d_bias_C.is_null()) {
      T* d_bias = gradients.d_bias_C.data<T>();
      for (int64_t c = 0; c < channels; ++c) put(d_bias[c], sums[problem.taps * channels + c]);
    }
  });
}

}  // namespace hetero::internal
