#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/causal_conv/causal_conv_walk.cuh"
#include "hetero/tensor/ops/cuda_fast_math.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::Rows;

template <typename T, int kTaps, int kWidth>
struct Forward {
  using Ring = OperandRing<T, kWidth, 1>;  // x

  const ConvProblem<T>& problem;
  Rows<T> out;
  int64_t c, end;
  ConvWindow<T, kTaps, kWidth> window;

  template <bool kOne>
  __device__ void Group(const Ring& ring, int64_t first, Together<kOne> together) {
    T* to = out[first] + c;
#pragma unroll
    for (int u = 0; u < kGroup; ++u, to += out.stride) {
      if (!kOne && first + u >= end) break;
      ring.Read(u, 0, window.x[kTaps - 1 + u]);
      float y[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float pre = window.Sum(u, i, together);
        y[i] = pre * cuda::SigmoidFor<T>(pre);
      }
      cuda::StoreFloats(y, to);
    }
    KeepNewest(window.x);
  }
};

template <typename T, int kTaps, int kWidth>
__global__ __launch_bounds__(kConvThreads, 6) void ConvForwardKernel(ConvProblem<T> problem,
                                                                     Rows<T> out) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t c = (int64_t{blockIdx.x} * kConvThreads + threadIdx.x) * kWidth;
  if (c >= problem.channels) return;
  const int64_t begin = blockIdx.y * problem.tokens_per_part;
  const int64_t end = min(begin + problem.tokens_per_part, problem.tokens);
  OperandRing<T, kWidth, 1> ring(shared, {problem.x}, c, begin, end);
  Forward<T, kTaps, kWidth> forward = {problem, out, c, end, {problem, c, begin}};
  SequenceWalk<T, kTaps> sequences(problem, begin);
  for (int64_t first = begin; first < end; first += kGroup) {
    ring.Advance();
    if (sequences.InOneSequence(first) && first + kGroup <= end) {
      forward.Group(ring, first, Together<true>());
    } else {
      forward.Group(ring, first, Together<false>{sequences.Starts(first)});
    }
  }
}

// d_x of a token is complete once the walk is kTaps - 1 tokens further.
template <typename T, int kTaps, int kWidth>
struct Backward {
  using Ring = OperandRing<T, kWidth, 2>;  // x, d_out

  const ConvProblem<T>& problem;
  Rows<T> d_x;
  int64_t c, begin, end;
  ConvWindow<T, kTaps, kWidth> window;
  float g[kTaps - 1 + kGroup][kWidth] = {};  // gradients before the activation
  float weight_sum[kTaps][kWidth] = {};
  float bias_sum[kWidth] = {};

  template <bool kOne>
  __device__ void Group(const Ring& ring, int64_t first, Together<kOne> together) {
#pragma unroll
    for (int u = 0; u < kGroup; ++u) {
      const int64_t t = first + u;
      float(&gradient)[kWidth] = g[kTaps - 1 + u];
      if (kOne || t < problem.tokens) {
        AddToken(ring, t, u, together, gradient);
      } else {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) gradient[i] = 0;
      }
      const int64_t complete = t - (kTaps - 1);
      if (complete < begin || (!kOne && complete >= end)) continue;
      float dx[kWidth] = {};
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
#pragma unroll
        for (int j = 0; j < kTaps; ++j) {
          if (together(u, u + j)) dx[i] += window.weight[kTaps - 1 - j][i] * g[u + j][i];
        }
      }
      cuda::StoreFloats(dx, d_x[complete] + c);
    }
    KeepNewest(window.x);
    KeepNewest(g);
  }

  template <bool kOne>
  __device__ void AddToken(const Ring& ring, int64_t t, int u, Together<kOne> together,
                           float (&gradient)[kWidth]) {
    ring.Read(u, 0, window.x[kTaps - 1 + u]);
    ring.Read(u, 1, gradient);
    // Of the tokens after the part, which the next part counts.
    const bool counts = kOne || t < end;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float pre = window.Sum(u, i, together);
      const float s = cuda::SigmoidFor<T>(pre);
      gradient[i] *= s * (1.0f + pre * (1.0f - s));
      if (!counts) continue;
      bias_sum[i] += gradient[i];
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        if (together(u + k, u + kTaps - 1)) weight_sum[k][i] += gradient[i] * window.x[u + k][i];
      }
    }
  }
};

// A thread walks its part's tokens and the kTaps - 1 after them, whose
// gradients reach back into the part.
template <typename T, int kTaps, int kWidth>
__global__ __launch_bounds__(kConvThreads,
                             4) void ConvBackwardKernel(ConvProblem<T> problem, Rows<const T> d_out,
                                                        Rows<T> d_x, float* partials_PSC) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t c = (int64_t{blockIdx.x} * kConvThreads + threadIdx.x) * kWidth;
  if (c >= problem.channels) return;
  const int64_t begin = blockIdx.y * problem.tokens_per_part;
  const int64_t end = min(begin + problem.tokens_per_part, problem.tokens);
  const int64_t last = end + kTaps - 1;
  OperandRing<T, kWidth, 2> ring(shared, {problem.x, d_out}, c, begin, min(last, problem.tokens));
  Backward<T, kTaps, kWidth> backward = {problem, d_x, c, begin, end, {problem, c, begin}};
  SequenceWalk<T, kTaps> sequences(problem, begin);
  for (int64_t first = begin; first < last; first += kGroup) {
    ring.Advance();
    if (sequences.InOneSequence(first) && first + kGroup <= end) {
      backward.Group(ring, first, Together<true>());
    } else {
      backward.Group(ring, first, Together<false>{sequences.Starts(first)});
    }
  }
  if (partials_PSC == nullptr) return;
  float* const sums = partials_PSC + blockIdx.y * (kTaps + 1) * problem.channels + c;
#pragma unroll
  for (int k = 0; k < kTaps; ++k) cuda::Store(backward.weight_sum[k], sums + k * problem.channels);
  cuda::Store(backward.bias_sum, sums + kTaps * problem.channels);
}

// Where the sums of taps and bias, [taps + 1, channels], go.
struct GradientPlace {
  int64_t channels, taps;
  float* d_weight_CK;
  float* d_bias;

  __device__ float* operator()(int64_t i) const {
    const int64_t tap = i / channels;
    const int64_t c = i - tap * channels;
    if (tap == taps) return d_bias == nullptr ? nullptr : d_bias + c;
    return d_weight_CK == nullptr ? nullptr : d_weight_CK + c * taps + tap;
  }
};

template <typename T>
ConvProblem<T> ProblemOf(const CausalConvInputs& inputs, const RowParts& parts) {
  return {.tokens = inputs.x_TC.dim(0),
          .channels = inputs.x_TC.dim(1),
          .tokens_per_part = parts.rows_per_part,
          .x = cuda::RowsOf<T>(inputs.x_TC),
          .weight_CK = inputs.weight_CK.data<T>(),
          .bias = cuda::DataOrNull<T>(inputs.bias_C),
          .row_length = inputs.sequences.row_length,
          .sequence_index = cuda::DataOrNull<int32_t>(inputs.sequences.sequence_index)};
}

// Calls `function.template operator()<kTaps>()`. Precondition: 1 to 4 taps.
template <typename Function>
absl::Status VisitTaps(int64_t taps, Function&& function) {
  switch (taps) {
    case 1:
      return function.template operator()<1>();
    case 2:
      return function.template operator()<2>();
    case 3:
      return function.template operator()<3>();
    default:
      return function.template operator()<4>();
  }
}

// Calls `function.template operator()<T, kTaps, kWidth>()`. Four channels a
// thread, of either type: the window, the weights and their sums have to fit in
// registers.
template <typename Function>
absl::Status Visit(const CausalConvInputs& inputs, std::initializer_list<ConstTensorView> views,
                   Function&& function) {
  constexpr int kWidth = 4;
  const bool vectors = cuda::AllowVectors({inputs.x_TC}, kWidth) &&
                       std::ranges::all_of(views, [](const ConstTensorView& view) {
                         return cuda::AllowVectors({view}, kWidth);
                       });
  return cuda::VisitFloat(inputs.x_TC.dtype(), [&]<typename T>() {
    return VisitTaps(inputs.weight_CK.dim(1), [&]<int kTaps>() {
      return vectors ? function.template operator()<T, kTaps, kWidth>()
                     : function.template operator()<T, kTaps, 1>();
    });
  });
}

cuda::LaunchShape ShapeOf(const CausalConvInputs& inputs, const RowParts& parts, int width,
                          size_t shared_bytes) {
  return {.grid = {cuda::NumBlocks(inputs.x_TC.dim(1), kConvThreads * width),
                   static_cast<unsigned>(parts.count)},
          .block = kConvThreads,
          .shared_bytes = shared_bytes};
}

}  // namespace

absl::Status CausalConvForwardCuda(const CausalConvInputs& inputs, const TensorView& out_TC,
                                   Stream& stream) {
  const RowParts parts = CausalConvParts(inputs);
  return Visit(inputs, {out_TC}, [&]<typename T, int kTaps, int kWidth>() {
    return HETERO_CUDA_LAUNCH(
        (ConvForwardKernel<T, kTaps, kWidth>),
        ShapeOf(inputs, parts, kWidth, OperandRing<T, kWidth, 1>::kSharedBytes), stream,
        ProblemOf<T>(inputs, parts), cuda::RowsOf<T>(out_TC));
  });
}

absl::Status CausalConvBackwardCuda(const CausalConvInputs& inputs, const ConstTensorView& d_out_TC,
                                    const CausalConvGradients& gradients,
                                    const TensorView& partials_PSC, Stream& stream) {
  const RowParts parts = CausalConvParts(inputs);
  const auto launch = [&]<typename T, int kTaps, int kWidth>() {
    return HETERO_CUDA_LAUNCH(
        (ConvBackwardKernel<T, kTaps, kWidth>),
        ShapeOf(inputs, parts, kWidth, OperandRing<T, kWidth, 2>::kSharedBytes), stream,
        ProblemOf<T>(inputs, parts), cuda::RowsOf<T>(d_out_TC), cuda::RowsOf<T>(gradients.d_x_TC),
        cuda::DataOrNull<float>(partials_PSC));
  };
  HETERO_RETURN_IF_ERROR(Visit(inputs, {d_out_TC, gradients.d_x_TC}, launch));
  if (partials_PSC.is_null()) return absl::OkStatus();
  const int64_t channels = inputs.x_TC.dim(1);
  const int64_t taps = inputs.weight_CK.dim(1);
  return cuda::FoldParts(
      partials_PSC.Reshape({partials_PSC.dim(0), (taps + 1) * channels}), gradients.accumulate,
      GradientPlace{channels, taps, cuda::DataOrNull<float>(gradients.d_weight_CK),
                    cuda::DataOrNull<float>(gradients.d_bias_C)},
      stream);
}

}  // namespace hetero::internal
