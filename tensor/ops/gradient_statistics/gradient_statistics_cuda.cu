#include <algorithm>
#include <cfloat>
#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"
#include "hetero/tensor/validate.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = kStatisticsWidth;
constexpr int kUnroll = 4;  // vectors a thread has in flight
constexpr int kFoldThreads = 1024;

// Ranges of one launch, by value: what they are is known on the host only. A kernel takes up to
// 32,764 bytes of parameters.
struct Ranges {
  static constexpr int kMax = 1024;

  int count = 0;
  int64_t begin[kMax];
  int64_t end[kMax];
  int parameter[kMax];
  unsigned first_block[kMax];
};
static_assert(sizeof(Ranges) <= 32'000);

// partials[block] = {Σ squares, zeros} of the vectors of one block; what is not finite is counted
// where it belongs. Atomic additions of whole numbers to f64 are exact, so in any order the same.
template <bool kAligned>
__global__ __launch_bounds__(kThreads) void GradientStatisticsKernel(
    const float* gradient, const __grid_constant__ Ranges ranges, int64_t vectors_per_block,
    double2* partials, double* non_finite_P) {
  int low = 0;
  for (int high = ranges.count; high - low > 1;) {
    const int middle = (low + high) / 2;
    (ranges.first_block[middle] <= blockIdx.x ? low : high) = middle;
  }
  const int64_t first = (ranges.begin[low] / kWidth +
                         int64_t{blockIdx.x - ranges.first_block[low]} * vectors_per_block) *
                        kWidth;
  // From here on elements are counted from the first one of the block's vectors.
  const float* const x = gradient + first;
  const int begin = static_cast<int>(max(ranges.begin[low] - first, int64_t{0}));
  const int end = static_cast<int>(min(ranges.end[low] - first, vectors_per_block * kWidth));

  double squares = 0;
  int zeros = 0;
  int non_finite = 0;
  const auto add = [&](float value) {
    const bool finite = fabsf(value) <= FLT_MAX;
    const double kept = finite ? value : 0.0f;
    squares = fma(kept, kept, squares);
    zeros += value == 0.0f ? 1 : 0;
    non_finite += finite ? 0 : 1;
  };
  const auto whole = [&](int i) { return i >= begin && i + kWidth <= end; };
  for (int tile = threadIdx.x * kWidth; tile < end; tile += kThreads * kUnroll * kWidth) {
    float values[kUnroll][kWidth];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int i = tile + u * kThreads * kWidth;
      if (!whole(i)) continue;
      if constexpr (kAligned) {
        cuda::Load(x + i, values[u]);
      } else {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) values[u][j] = x[i + j];
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int i = tile + u * kThreads * kWidth;
      if (whole(i)) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) add(values[u][j]);
      } else {
        for (int j = max(i, begin); j < min(i + kWidth, end); ++j) add(x[j]);
      }
    }
  }
  squares = cuda::BlockSum<kThreads>(squares);
  zeros = cuda::BlockSum<kThreads>(zeros);
  non_finite = cuda::BlockSum<kThreads>(non_finite);
  if (threadIdx.x != 0) return;
  partials[blockIdx.x] = {squares, static_cast<double>(zeros)};
  if (non_finite > 0) {
    atomicAdd(non_finite_P + ranges.parameter[low], static_cast<double>(non_finite));
  }
}

__global__ __launch_bounds__(kFoldThreads) void AddPartialsKernel(const double2* partials,
                                                                  int64_t num_partials,
                                                                  double* totals) {
  double squares = 0;
  double zeros = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < num_partials; i += kFoldThreads) {
    const double2 partial = partials[i];
    squares += partial.x;
    zeros += partial.y;
  }
  squares = cuda::BlockSum<kFoldThreads>(squares);
  zeros = cuda::BlockSum<kFoldThreads>(zeros);
  if (threadIdx.x == 0) {
    totals[0] += squares;
    totals[1] += zeros;
  }
}

template <bool kAligned>
absl::Status LaunchAll(const GradientStatisticsArgs& args, const StatisticsCut& cut,
                       double2* partials, Stream& stream) {
  size_t next = 0;
  while (next < args.ranges.size()) {
    Ranges ranges;
    unsigned num_blocks = 0;
    for (; next < args.ranges.size() && ranges.count < Ranges::kMax; ++next) {
      const StatisticsRange& range = args.ranges[next];
      if (range.count == 0) continue;
      ranges.begin[ranges.count] = range.begin;
      ranges.end[ranges.count] = range.begin + range.count;
      ranges.parameter[ranges.count] = static_cast<int>(range.parameter);
      ranges.first_block[ranges.count] = num_blocks;
      ++ranges.count;
      num_blocks += static_cast<unsigned>(cut.NumBlocks(range));
    }
    const cuda::LaunchShape shape = {.grid = num_blocks, .block = kThreads};
    HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(
        GradientStatisticsKernel<kAligned>, shape, stream, args.gradient_N.data<float>(), ranges,
        cut.vectors_per_block, partials, args.non_finite_P.data<double>()));
    partials += num_blocks;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GradientStatisticsCuda(const GradientStatisticsArgs& args, const StatisticsCut& cut,
                                    const TensorView& partials, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDType("gradient", args.gradient_N, DType::kF32));
  if (cut.num_blocks == 0) return absl::OkStatus();
  auto* const of_block = static_cast<double2*>(partials.address());
  const bool aligned =
      reinterpret_cast<uintptr_t>(args.gradient_N.address()) % (kWidth * sizeof(float)) == 0;
  HETERO_RETURN_IF_ERROR(aligned ? LaunchAll<true>(args, cut, of_block, stream)
                                 : LaunchAll<false>(args, cut, of_block, stream));
  const cuda::LaunchShape shape = {.grid = 1, .block = kFoldThreads};
  return HETERO_CUDA_LAUNCH(AddPartialsKernel, shape, stream, of_block, cut.num_blocks,
                            args.totals_2.data<double>());
}

}  // namespace hetero::internal
