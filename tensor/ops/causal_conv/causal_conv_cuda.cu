#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::Rows;

constexpr int kThreads = 128;

// Tokens whose operands a thread loads before it uses the first. After four tokens the window of
// four taps lies in the registers it started in.
constexpr int kUnroll = 4;

// In bf16 to a few units of f32, which its rounding hides.
template <typename T>
__device__ float Sigmoid(float x) {
  if constexpr (std::is_same_v<T, float>) return cuda::Sigmoid(x);
  return __fdividef(1.0f, 1.0f + __expf(-x));
}

template <typename T>
struct Problem {
  int64_t tokens, channels, tokens_per_part;
  Rows<const T> x;
  const T* weight_CK;
  const T* bias;  // null: none
  int64_t row_length;
  const int32_t* sequence_index;  // null: rows are the sequences
};

// The walk of one thread over consecutive tokens, for kWidth neighbouring channels: the newest
// kTaps inputs, zero where a tap is outside the sequence of the newest token.
template <typename T, int kTaps, int kWidth>
struct Walk {
  float weight[kTaps][kWidth];
  float bias[kWidth];
  float x[kTaps][kWidth] = {};
  int taps = 0;        // how many of x are in the sequence
  int64_t position;    // of the next token in its row
  int32_t index = -1;  // of the newest token's sequence

  // Before token `t`; the inputs of the tokens before it are in place.
  __device__ Walk(const Problem<T>& problem, int64_t c, int64_t t) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      bias[i] = problem.bias == nullptr ? 0.0f : cuda::ToFloat(problem.bias[c + i]);
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        weight[k][i] = cuda::ToFloat(problem.weight_CK[(c + i) * kTaps + k]);
      }
    }
    const int64_t first = max(t - (kTaps - 1), int64_t{0});
    position = first % problem.row_length;
    if (problem.sequence_index != nullptr && first > 0) index = problem.sequence_index[first - 1];
    for (int64_t s = first; s < t; ++s) {
      float next[kWidth];
      cuda::Load(problem.x[s] + c, next);
      Step(problem, s, next);
    }
  }

  // Takes the input of token t, the next one.
  __device__ void Step(const Problem<T>& problem, int64_t t, const float (&next)[kWidth]) {
    bool starts = position == 0;
    if (problem.sequence_index != nullptr) {
      const int32_t of_token = problem.sequence_index[t];
      starts = starts || of_token != index;
      index = of_token;
    }
    position = position + 1 == problem.row_length ? 0 : position + 1;
    taps = starts ? 1 : min(taps + 1, kTaps);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
#pragma unroll
      for (int k = 0; k + 1 < kTaps; ++k) x[k][i] = starts ? 0.0f : x[k + 1][i];
      x[kTaps - 1][i] = next[i];
    }
  }

  // Of channel i, before the activation.
  __device__ float Sum(int i) const {
    float sum = bias[i];
#pragma unroll
    for (int k = 0; k < kTaps; ++k) sum += weight[k][i] * x[k][i];
    return sum;
  }
};

template <typename T, int kTaps, int kWidth>
__global__ __launch_bounds__(kThreads) void ConvForwardKernel(Problem<T> problem, Rows<T> out) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (c >= problem.channels) return;
  const int64_t begin = blockIdx.y * problem.tokens_per_part;
  const int64_t end = min(begin + problem.tokens_per_part, problem.tokens);
  Walk<T, kTaps, kWidth> walk(problem, c, begin);
  for (int64_t first = begin; first < end; first += kUnroll) {
    float x[kUnroll][kWidth];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u < end) cuda::Load(problem.x[first + u] + c, x[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u >= end) break;
      walk.Step(problem, first + u, x[u]);
      float y[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float pre = walk.Sum(i);
        y[i] = pre * Sigmoid<T>(pre);
      }
      cuda::Store(y, out[first + u] + c);
    }
  }
}

// A thread walks its part's tokens and the kTaps - 1 after them, whose gradients reach back into
// the part. d_x of a token is complete once the walk is kTaps - 1 tokens further.
template <typename T, int kTaps, int kWidth>
__global__ __launch_bounds__(kThreads, 4) void ConvBackwardKernel(Problem<T> problem,
                                                                  Rows<const T> d_out, Rows<T> d_x,
                                                                  float* partials_PSC) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (c >= problem.channels) return;
  const int64_t begin = blockIdx.y * problem.tokens_per_part;
  const int64_t end = min(begin + problem.tokens_per_part, problem.tokens);
  Walk<T, kTaps, kWidth> walk(problem, c, begin);
  float dx[kTaps][kWidth] = {};  // of the newest kTaps tokens
  float weight_sum[kTaps][kWidth] = {};
  float bias_sum[kWidth] = {};
  const int64_t last = end + kTaps - 1;
  for (int64_t first = begin; first < last; first += kUnroll) {
    float x[kUnroll][kWidth], dy[kUnroll][kWidth];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u >= min(last, problem.tokens)) continue;
      cuda::Load(problem.x[first + u] + c, x[u]);
      cuda::Load(d_out[first + u] + c, dy[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t t = first + u;
      if (t >= last) break;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
#pragma unroll
        for (int k = 0; k + 1 < kTaps; ++k) dx[k][i] = dx[k + 1][i];
        dx[kTaps - 1][i] = 0;
      }
      if (t < problem.tokens) {
        walk.Step(problem, t, x[u]);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float pre = walk.Sum(i);
          const float s = Sigmoid<T>(pre);
          const float g = dy[u][i] * s * (1.0f + pre * (1.0f - s));
#pragma unroll
          for (int k = 0; k < kTaps; ++k) {
            if (kTaps - k <= walk.taps) dx[k][i] += walk.weight[k][i] * g;
          }
          if (t < end) {
            bias_sum[i] += g;
#pragma unroll
            for (int k = 0; k < kTaps; ++k) weight_sum[k][i] += g * walk.x[k][i];
          }
        }
      }
      const int64_t complete = t - (kTaps - 1);
      if (complete >= begin) cuda::Store(dx[0], d_x[complete] + c);
    }
  }
  if (partials_PSC == nullptr) return;
  float* const sums = partials_PSC + blockIdx.y * (kTaps + 1) * problem.channels + c;
#pragma unroll
  for (int k = 0; k < kTaps; ++k) cuda::Store(weight_sum[k], sums + k * problem.channels);
  cuda::Store(bias_sum, sums + kTaps * problem.channels);
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
Problem<T> ProblemOf(const CausalConvInputs& inputs, const RowParts& parts) {
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

// Calls `function.template operator()<T, kTaps, kWidth>()`. Four channels a thread, of either type:
// the window, the weights and their sums have to fit in registers.
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

cuda::LaunchShape ShapeOf(const CausalConvInputs& inputs, const RowParts& parts, int width) {
  return {.grid = {cuda::NumBlocks(inputs.x_TC.dim(1), kThreads * width),
                   static_cast<unsigned>(parts.count)},
          .block = kThreads};
}

}  // namespace

absl::Status CausalConvForwardCuda(const CausalConvInputs& inputs, const TensorView& out_TC,
                                   Stream& stream) {
  const RowParts parts = CausalConvParts(inputs);
  return Visit(inputs, {out_TC}, [&]<typename T, int kTaps, int kWidth>() {
    return HETERO_CUDA_LAUNCH((ConvForwardKernel<T, kTaps, kWidth>), ShapeOf(inputs, parts, kWidth),
                              stream, ProblemOf<T>(inputs, parts), cuda::RowsOf<T>(out_TC));
  });
}

absl::Status CausalConvBackwardCuda(const CausalConvInputs& inputs, const ConstTensorView& d_out_TC,
                                    const CausalConvGradients& gradients,
                                    const TensorView& partials_PSC, Stream& stream) {
  const RowParts parts = CausalConvParts(inputs);
  const auto launch = [&]<typename T, int kTaps, int kWidth>() {
    return HETERO_CUDA_LAUNCH((ConvBackwardKernel<T, kTaps, kWidth>),
                              ShapeOf(inputs, parts, kWidth), stream, ProblemOf<T>(inputs, parts),
                              cuda::RowsOf<T>(d_out_TC), cuda::RowsOf<T>(gradients.d_x_TC),
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
