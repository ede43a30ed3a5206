#include <algorithm>
#include <cmath>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"

namespace hetero::internal {
namespace {

template <typename T>
struct Problem {
  explicit Problem(const GatedNormInputs& inputs)
      : rows(inputs.y_TI.dim(0)),
        channels(inputs.y_TI.dim(1)),
        group_channels(channels / inputs.num_groups),
        epsilon(static_cast<T>(inputs.epsilon)),
        y(inputs.y_TI.data<T>()),
        y_stride(inputs.y_TI.stride(0)),
        z(inputs.z_TI.data<T>()),
        z_stride(inputs.z_TI.stride(0)),
        weight(inputs.weight_I.data<T>()) {}

  int64_t rows, channels, group_channels;
  T epsilon;
  const T* y;
  int64_t y_stride;
  const T* z;
  int64_t z_stride;
  const T* weight;
};

template <typename T>
HETERO_CPU_KERNEL void ForwardKernel(const Problem<T>& p, T* out, int64_t out_stride) {
  const int64_t n = p.group_channels;
  for (int64_t t = 0; t < p.rows; ++t) {
    for (int64_t begin = 0; begin < p.channels; begin += n) {
      const T* y = p.y + t * p.y_stride + begin;
      const T* z = p.z + t * p.z_stride + begin;
      const T* weight = p.weight + begin;
      T* v = out + t * out_stride + begin;
      T sum = T(0);
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; ++i) {
        const T gated = y[i] * z[i] * cpu::Sigmoid(z[i]);
        v[i] = gated;
        sum += gated * gated;
      }
      const T scale = T(1) / std::sqrt(sum / static_cast<T>(n) + p.epsilon);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) v[i] *= scale * weight[i];
    }
  }
}

template <typename T>
HETERO_CPU_KERNEL void BackwardKernel(const Problem<T>& p, const T* d_out, int64_t d_out_stride,
                                      T* d_y, int64_t d_y_stride, T* d_z, int64_t d_z_stride,
                                      T* gate, T* weight_sum) {
  const int64_t n = p.group_channels;
  T* const sigmoid = gate;
  T* const gated = gate + n;
  std::fill(weight_sum, weight_sum + p.channels, T(0));
  for (int64_t t = 0; t < p.rows; ++t) {
    for (int64_t begin = 0; begin < p.channels; begin += n) {
      const T* y = p.y + t * p.y_stride + begin;
      const T* z = p.z + t * p.z_stride + begin;
      const T* weight = p.weight + begin;
      const T* g = d_out + t * d_out_stride + begin;
      T* dy = d_y + t * d_y_stride + begin;
      T* dz = d_z + t * d_z_stride + begin;
      T* dw = weight_sum + begin;
      T squares = T(0);
      T dot = T(0);
#pragma omp simd reduction(+ : squares, dot)
      for (int64_t i = 0; i < n; ++i) {
        const T s = cpu::Sigmoid(z[i]);
        const T v = y[i] * z[i] * s;
        sigmoid[i] = s;
        gated[i] = v;
        squares += v * v;
        dot += v * weight[i] * g[i];
      }
      const T scale = T(1) / std::sqrt(squares / static_cast<T>(n) + p.epsilon);
      // d_v = scale (weight g - v scale^2 mean(v weight g)).
      const T projection = scale * scale * dot / static_cast<T>(n);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const T s = sigmoid[i];
        const T v = gated[i];
        const T d_v = scale * (weight[i] * g[i] - projection * v);
        dw[i] += g[i] * v * scale;
        dz[i] = d_v * y[i] * s * (T(1) + z[i] * (T(1) - s));
        dy[i] = d_v * z[i] * s;
      }
    }
  }
}

}  // namespace

absl::Status GatedNormForwardCpu(const GatedNormInputs& inputs, const TensorView& out_TI) {
  return VisitFloat(inputs.y_TI.dtype(), [&]<typename T>() {
    cpu::RunKernel<ForwardKernel<T>>(Problem<T>(inputs), out_TI.data<T>(), out_TI.stride(0));
  });
}

absl::Status GatedNormBackwardCpu(const GatedNormInputs& inputs, const ConstTensorView& d_out_TI,
                                  const GatedNormGradients& gradients, const TensorView& gate,
                                  const TensorView& weight_sum_I) {
  return VisitFloat(inputs.y_TI.dtype(), [&]<typename T>() {
    cpu::RunKernel<BackwardKernel<T>>(Problem<T>(inputs), d_out_TI.data<T>(), d_out_TI.stride(0),
                                      gradients.d_y_TI.data<T>(), gradients.d_y_TI.stride(0),
                                      gradients.d_z_TI.data<T>(), gradients.d_z_TI.stride(0),
                                      gate.data<T>(), weight_sum_I.data<T>());
    if (gradients.d_weight_I.is_null()) return;
    const T* sum = weight_sum_I.data<T>();
    T* out = gradients.d_weight_I.data<T>();
    for (int64_t i = 0; i < weight_sum_I.dim(0); ++i) {
      out[i] = gradients.accumulate ? out[i] + sum[i] : sum[i];
    }
  });
}

}  // namespace hetero::internal
