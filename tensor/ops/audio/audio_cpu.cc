#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/audio/audio.h"
#include "hetero/tensor/ops/cpu_kernel.h"

namespace hetero::internal {
namespace {

// The taps of a row are neighbours in its clip: one copy, but for what lies outside.
template <typename T>
void GatherClip(const T* x, int64_t length, int64_t channels, int64_t stride, T* columns) {
  const int64_t rows = ConvolvedRows(length, stride);
  for (int64_t o = 0; o < rows; ++o) {
    const int64_t first = stride * o - 1;
    const int64_t begin = std::max<int64_t>(first, 0), end = std::min(first + 3, length);
    columns = std::fill_n(columns, (begin - first) * channels, T(0));
    columns = std::copy_n(x + begin * channels, (end - begin) * channels, columns);
    columns = std::fill_n(columns, (first + 3 - end) * channels, T(0));
  }
}

template <typename T>
HETERO_CPU_KERNEL void SumClip(const T* columns, int64_t length, int64_t channels, int64_t stride,
                               T* x) {
  const int64_t rows = ConvolvedRows(length, stride);
  for (int64_t t = 0; t < length; ++t) {
    bool first = true;
    for (int64_t k = 0; k < 3; ++k) {
      const int64_t middle = t + 1 - k;  // of the row whose tap k this is
      if (middle < 0 || middle % stride != 0 || middle / stride >= rows) continue;
      const T* tap = columns + (middle / stride * 3 + k) * channels;
      if (first) {
        std::copy_n(tap, channels, x);
        first = false;
        continue;
      }
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) x[c] += tap[c];
    }
    x += channels;
  }
}

// sin(2 pi turns). The odd Taylor polynomial of a quarter turn; what follows is below 7e-10.
HETERO_CPU_KERNEL float SinOfTurns(double turns, float) {
  const double whole = turns - std::nearbyint(turns);
  const double folded = whole > 0.25 ? 0.5 - whole : (whole < -0.25 ? -0.5 - whole : whole);
  const float x = static_cast<float>(2 * std::numbers::pi * folded);
  const float x2 = x * x;
  float p = 1.0f / 6227020800;
  p = p * x2 - 1.0f / 39916800;
  p = p * x2 + 1.0f / 362880;
  p = p * x2 - 1.0f / 5040;
  p = p * x2 + 1.0f / 120;
  p = p * x2 - 1.0f / 6;
  return x + x * x2 * p;
}
inline double SinOfTurns(double turns, double) {
  return std::sin(2 * std::numbers::pi * (turns - std::nearbyint(turns)));
}

template <typename T>
HETERO_CPU_KERNEL void AddSinusoidsOfClip(const T* x, int64_t length, int64_t half,
                                          const double* turns_per_row, T* out) {
  for (int64_t t = 0; t < length; ++t) {
    const double row = static_cast<double>(t);
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const double turns = row * turns_per_row[i];
      out[i] = x[i] + SinOfTurns(turns, T());
      out[half + i] = x[half + i] + SinOfTurns(turns + 0.25, T());
    }
    x += 2 * half;
    out += 2 * half;
  }
}

}  // namespace

absl::Status GatherTapsCpu(const TimeConvShape& shape, const ConstTensorView& x_TC,
                           const TensorView& columns_RK) {
  return VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const int64_t channels = x_TC.dim(1);
    const T* x = x_TC.data<T>();
    T* columns = columns_RK.data<T>();
    for (const int32_t length : shape.lengths) {
      GatherClip(x, length, channels, shape.stride, columns);
      x += length * channels;
      columns += ConvolvedRows(length, shape.stride) * 3 * channels;
    }
  });
}

absl::Status SumTapsCpu(const TimeConvShape& shape, const ConstTensorView& columns_RK,
                        const TensorView& x_TC) {
  return VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const int64_t channels = x_TC.dim(1);
    const T* columns = columns_RK.data<T>();
    T* x = x_TC.data<T>();
    for (const int32_t length : shape.lengths) {
      cpu::RunKernel<SumClip<T>>(columns, length, channels, shape.stride, x);
      x += length * channels;
      columns += ConvolvedRows(length, shape.stride) * 3 * channels;
    }
  });
}

absl::Status AddSinusoidsCpu(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                             const TensorView& turns_per_row, const TensorView& out_TC) {
  return VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const int64_t half = x_TC.dim(1) / 2;
    double* const turns = turns_per_row.data<double>();
    for (int64_t i = 0; i < half; ++i) {
      turns[i] = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half - 1)) /
                 (2 * std::numbers::pi);
    }
    const T* x = x_TC.data<T>();
    T* out = out_TC.data<T>();
    for (const int32_t length : lengths) {
      cpu::RunKernel<AddSinusoidsOfClip<T>>(x, length, half, turns, out);
      x += length * 2 * half;
      out += length * 2 * half;
    }
  });
}

}  // namespace hetero::internal
