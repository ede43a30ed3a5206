#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/layer_scale/layer_scale.h"

namespace hetero::internal {
namespace {

template <typename T>
HETERO_CPU_KERNEL void Scale(const T* x, int64_t stride_x, const T* residual,
                             int64_t stride_residual, const T* scale, T* y, int64_t stride_y,
                             int64_t rows, int64_t channels) {
  for (int64_t t = 0; t < rows; ++t, x += stride_x, residual += stride_residual, y += stride_y) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) y[c] = residual[c] + scale[c] * x[c];
  }
}

template <typename T, bool kScaleGradient>
HETERO_CPU_KERNEL void ScaleGradient(const T* dy, int64_t stride_dy, const T* x, int64_t stride_x,
                                     const T* scale, T* dx, int64_t stride_dx, T* dscale,
                                     int64_t rows, int64_t channels) {
  for (int64_t t = 0; t < rows; ++t, dy += stride_dy, x += stride_x, dx += stride_dx) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const T gradient = dy[c];
      if constexpr (kScaleGradient) dscale[c] += gradient * x[c];
      dx[c] = gradient * scale[c];
    }
  }
}

}  // namespace

absl::Status LayerScaleForwardCpu(const LayerScaleForwardArgs& args) {
  const ConstTensorView &x = args.x_TC, &residual = args.residual_TC;
  return VisitFloat(x.dtype(), [&]<typename T>() {
    cpu::RunKernel<Scale<T>>(x.data<T>(), x.stride(0), residual.data<T>(), residual.stride(0),
                             args.scale_C.data<T>(), args.y_TC.data<T>(), args.y_TC.stride(0),
                             x.dim(0), x.dim(1));
  });
}

absl::Status LayerScaleBackwardCpu(const LayerScaleBackwardArgs& args) {
  const ConstTensorView &x = args.x_TC, &dy = args.dy_TC;
  return VisitFloat(x.dtype(), [&]<typename T>() {
    const auto gradient = [&]<bool kScaleGradient>(T* dscale) {
      cpu::RunKernel<ScaleGradient<T, kScaleGradient>>(
          dy.data<T>(), dy.stride(0), x.data<T>(), x.stride(0), args.scale_C.data<T>(),
          args.dx_TC.data<T>(), args.dx_TC.stride(0), dscale, x.dim(0), x.dim(1));
    };
    if (args.dscale_C.is_null()) {
      gradient.template operator()<false>(nullptr);
      return;
    }
    T* const dscale = args.dscale_C.data<T>();
    if (!args.accumulate) std::fill_n(dscale, x.dim(1), T(0));
    gradient.template operator()<true>(dscale);
  });
}

}  // namespace hetero::internal
