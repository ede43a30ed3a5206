#include <algorithm>
#include <cstdint>

#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tensor/validate.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 2;  // vectors a thread updates

// Segments of one launch, by value: what they are is known on the host only.
struct Segments {
  static constexpr int kMax = 128;

  int count = 0;
  int64_t begin[kMax];
  int64_t end[kMax];
  float decay[kMax];
  unsigned first_block[kMax];
};

struct Operands {
  float* parameter;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  __nv_bfloat16* rounded;            // null: not wanted
  float beta1, rest1, beta2, rest2;  // rest = 1 - beta, rounded once
  float epsilon, first_correction, second_correction, learning_rate;
  const double* decisions;
};

struct Factors {
  float scale, decay;
};

__device__ void Update(const Operands& op, const Factors& f, float& p, float g, float& m,
                       float& v) {
  const float gradient = f.scale * g;
  m = op.beta1 * m + op.rest1 * gradient;
  v = op.beta2 * v + op.rest2 * gradient * gradient;
  const float direction = op.first_correction * m / (sqrtf(op.second_correction * v) + op.epsilon);
  p -= op.learning_rate * (direction + f.decay * p);
}

// Blocks cover whole vectors, counted from element 0, that have elements of the block's segment.
template <int kWidth>
__global__ __launch_bounds__(kThreads) void AdamWKernel(const __grid_constant__ Operands op,
                                                        const __grid_constant__ Segments segments) {
  if (op.decisions[kUpdateApply] == 0) return;
  int low = 0;
  for (int high = segments.count; high - low > 1;) {
    const int middle = (low + high) / 2;
    (segments.first_block[middle] <= blockIdx.x ? low : high) = middle;
  }
  const Factors factors = {.scale = static_cast<float>(op.decisions[kUpdateScale]),
                           .decay = segments.decay[low]};
  const int64_t begin = segments.begin[low];
  const int64_t end = segments.end[low];
  const int64_t first_vector =
      begin / kWidth + int64_t{blockIdx.x - segments.first_block[low]} * (kThreads * kUnroll) +
      threadIdx.x;
  const auto whole = [&](int64_t i) { return i >= begin && i + kWidth <= end; };
  float p[kUnroll][kWidth], g[kUnroll][kWidth], m[kUnroll][kWidth], v[kUnroll][kWidth];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = (first_vector + u * kThreads) * kWidth;
    if (!whole(i)) continue;
    cuda::Load(op.parameter + i, p[u]);
    cuda::Load(op.gradient + i, g[u]);
    cuda::Load(op.first_moment + i, m[u]);
    cuda::Load(op.second_moment + i, v[u]);
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = (first_vector + u * kThreads) * kWidth;
    if (whole(i)) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) Update(op, factors, p[u][j], g[u][j], m[u][j], v[u][j]);
      cuda::Store(p[u], op.parameter + i);
      cuda::Store(m[u], op.first_moment + i);
      cuda::Store(v[u], op.second_moment + i);
      if (op.rounded != nullptr) cuda::Store(p[u], op.rounded + i);
    } else {
      for (int64_t j = max(i, begin); j < min(i + kWidth, end); ++j) {
        Update(op, factors, op.parameter[j], op.gradient[j], op.first_moment[j],
               op.second_moment[j]);
        if (op.rounded != nullptr) op.rounded[j] = cuda::FromFloat<__nv_bfloat16>(op.parameter[j]);
      }
    }
  }
}

template <int kWidth>
absl::Status LaunchAll(const AdamWArgs& args, const Operands& op, Stream& stream) {
  size_t next = 0;
  while (next < args.segments.size()) {
    Segments segments;
    unsigned num_blocks = 0;
    for (; next < args.segments.size() && segments.count < Segments::kMax; ++next) {
      const AdamWSegment& segment = args.segments[next];
      if (segment.count == 0) continue;
      const int64_t end = segment.begin + segment.count;
      segments.begin[segments.count] = segment.begin;
      segments.end[segments.count] = end;
      segments.decay[segments.count] = static_cast<float>(segment.weight_decay);
      segments.first_block[segments.count] = num_blocks;
      ++segments.count;
      num_blocks +=
          cuda::NumBlocks(CeilDiv(end, kWidth) - segment.begin / kWidth, kThreads * kUnroll);
    }
    const cuda::LaunchShape shape = {.grid = num_blocks, .block = kThreads};
    HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(AdamWKernel<kWidth>, shape, stream, op, segments));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AdamWCuda(const AdamWArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("parameter", args.parameter_N, DType::kF32));
  const Operands op = {
      .parameter = args.parameter_N.data<float>(),
      .gradient = args.gradient_N.data<float>(),
      .first_moment = args.first_moment_N.data<float>(),
      .second_moment = args.second_moment_N.data<float>(),
      .rounded = args.rounded_N.is_null() ? nullptr : args.rounded_N.data<__nv_bfloat16>(),
      .beta1 = static_cast<float>(args.beta1),
      .rest1 = static_cast<float>(1 - args.beta1),
      .beta2 = static_cast<float>(args.beta2),
      .rest2 = static_cast<float>(1 - args.beta2),
      .epsilon = static_cast<float>(args.epsilon),
      .first_correction = static_cast<float>(args.first_correction),
      .second_correction = static_cast<float>(args.second_correction),
      .learning_rate = static_cast<float>(args.learning_rate),
      .decisions = args.decisions.data<double>()};
  constexpr int kWidth = cuda::kFullWidth<float>;
  const auto aligned = [](const ConstTensorView& view) {
    return reinterpret_cast<uintptr_t>(view.address()) % (kWidth * SizeOf(view.dtype())) == 0;
  };
  return aligned(args.parameter_N) && aligned(args.gradient_N) && aligned(args.first_moment_N) &&
                 aligned(args.second_moment_N) && aligned(args.rounded_N)
             ? LaunchAll<kWidth>(args, op, stream)
             : LaunchAll<1>(args, op, stream);
}

}  // namespace hetero::internal
