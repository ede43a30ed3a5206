#include <algorithm>
#include <cstdint>

#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/audio/audio.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {
namespace {

using cuda::kWarpSize;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;

// Clips of one launch, by value: lengths are known on the host only. Rows are those of the whole
// batch, before and after the convolution.
struct Clips {
  static constexpr int kMax = 128;

  int count = 0;
  int stride = 1;
  int64_t first_in[kMax + 1];  // one past the end for the last clip
  int64_t first_out[kMax + 1];
};

// Calls `launch(clips)` for groups of clips, in order.
template <typename Launch>
absl::Status ForEachGroup(const TimeConvShape& shape, Launch&& launch) {
  int64_t in = 0;
  int64_t out = 0;
  for (auto next = shape.lengths.begin(); next != shape.lengths.end();) {
    Clips clips;
    clips.stride = static_cast<int>(shape.stride);
    for (; next != shape.lengths.end() && clips.count < Clips::kMax; ++next) {
      clips.first_in[clips.count] = in;
      clips.first_out[clips.count] = out;
      ++clips.count;
      in += *next;
      out += ConvolvedRows(*next, shape.stride);
    }
    clips.first_in[clips.count] = in;
    clips.first_out[clips.count] = out;
    HETERO_RETURN_IF_ERROR(launch(clips));
  }
  return absl::OkStatus();
}

// The clip of a row, `firsts` being first_in or first_out.
__device__ inline int ClipOf(const int64_t* firsts, int count, int64_t row) {
  int low = 0;
  for (int high = count; high - low > 1;) {
    const int middle = (low + high) / 2;
    (firsts[middle] <= row ? low : high) = middle;
  }
  return low;
}

__device__ inline int64_t RowOfWarp(const int64_t* firsts) {
  return firsts[0] + int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
}

cuda::LaunchShape WarpARow(const int64_t* firsts, int count) {
  return {.grid = cuda::NumBlocks(firsts[count] - firsts[0], kWarps), .block = kThreads};
}

// A warp a row of `columns`. Its taps are neighbours in x: accesses [0, 3 row_accesses) of which
// those outside the clip are zeros. Moves: columns once, and x as the cache has it.
template <typename Access>
__global__ __launch_bounds__(kThreads) void GatherTapsKernel(Clips clips, int64_t row_accesses,
                                                             const Access* x, Access* columns) {
  const int64_t out = RowOfWarp(clips.first_out);
  if (out >= clips.first_out[clips.count]) return;
  const int clip = ClipOf(clips.first_out, clips.count, out);
  const int64_t first = clips.stride * (out - clips.first_out[clip]) - 1;
  const int64_t length = clips.first_in[clip + 1] - clips.first_in[clip];
  const int64_t begin = first < 0 ? row_accesses : 0;
  const int64_t end = (first + 3 <= length ? 3 : length - first) * row_accesses;
  x += (clips.first_in[clip] + first) * row_accesses;
  columns += out * 3 * row_accesses;
#pragma unroll 4
  for (int64_t i = threadIdx.x % kWarpSize; i < 3 * row_accesses; i += kWarpSize) {
    columns[i] = i >= begin && i < end ? x[i] : Access{};
  }
}

// A warp a row of x. Moves: columns and x once.
template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void SumTapsKernel(Clips clips, int64_t channels,
                                                          const T* columns, T* x) {
  const int64_t in = RowOfWarp(clips.first_in);
  if (in >= clips.first_in[clips.count]) return;
  const int clip = ClipOf(clips.first_in, clips.count, in);
  const int64_t t = in - clips.first_in[clip];
  const int64_t rows = clips.first_out[clip + 1] - clips.first_out[clip];
  const T* taps[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const int64_t middle = t + 1 - k;  // of the row whose tap k this is
    const bool counts = middle >= 0 && middle % clips.stride == 0 && middle / clips.stride < rows;
    taps[k] = counts
                  ? columns + ((clips.first_out[clip] + middle / clips.stride) * 3 + k) * channels
                  : nullptr;
  }
  for (int64_t c = threadIdx.x % kWarpSize * kWidth; c < channels; c += kWarpSize * kWidth) {
    float sum[kWidth] = {};
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      if (taps[k] == nullptr) continue;
      float tap[kWidth];
      cuda::Load(taps[k] + c, tap);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += tap[i];
    }
    cuda::Store(sum, x + in * channels + c);
  }
}

constexpr int kRowsPerBlock = 16;  // that share the computation of a frequency

// A block kRowsPerBlock rows. Moves: x and out once.
template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void AddSinusoidsKernel(Clips clips, int64_t channels,
                                                               const T* x, T* out) {
  const int64_t begin = clips.first_in[0] + int64_t{blockIdx.x} * kRowsPerBlock;
  const int64_t end = min(begin + kRowsPerBlock, clips.first_in[clips.count]);
  const int64_t half = channels / 2;
  constexpr double kLog2Of10000 = 13.287712379549449;
  constexpr double kTwoPi = 6.283185307179586;
  for (int64_t c = int64_t{threadIdx.x} * kWidth; c < channels; c += kThreads * kWidth) {
    double turns_per_row[kWidth];
    double shift[kWidth];  // a quarter turn makes a sine a cosine
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const bool is_cosine = c + i >= half;
      const double order = static_cast<double>(c + i - (is_cosine ? half : 0));
      turns_per_row[i] = exp2(-kLog2Of10000 * order / static_cast<double>(half - 1)) / kTwoPi;
      shift[i] = is_cosine ? 0.25 : 0;
    }
    int clip = ClipOf(clips.first_in, clips.count, begin);
    for (int64_t row = begin; row < end; ++row) {
      if (row == clips.first_in[clip + 1]) ++clip;
      const double t = static_cast<double>(row - clips.first_in[clip]);
      float values[kWidth];
      cuda::Load(x + row * channels + c, values);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const double turns = t * turns_per_row[i] + shift[i];
        values[i] += sinpif(static_cast<float>(2 * (turns - rint(turns))));
      }
      cuda::Store(values, out + row * channels + c);
    }
  }
}

}  // namespace

absl::Status GatherTapsCuda(const TimeConvShape& shape, const ConstTensorView& x_TC,
                            const TensorView& columns_RK, Stream& stream) {
  const int64_t channels = x_TC.dim(1), size = SizeOf(x_TC.dtype());
  const auto launch = [&]<typename Access>() {
    return ForEachGroup(shape, [&](const Clips& clips) {
      return HETERO_CUDA_LAUNCH(
          GatherTapsKernel<Access>, WarpARow(clips.first_out, clips.count), stream, clips,
          channels * size / static_cast<int64_t>(sizeof(Access)),
          static_cast<const Access*>(x_TC.address()), static_cast<Access*>(columns_RK.address()));
    });
  };
  const int full = static_cast<int>(16 / size);
  if (channels % full == 0 && cuda::AllowVectors({x_TC, columns_RK}, full)) {
    return launch.template operator()<uint4>();
  }
  return size == 2 ? launch.template operator()<uint16_t>()
                   : launch.template operator()<uint32_t>();
}

absl::Status SumTapsCuda(const TimeConvShape& shape, const ConstTensorView& columns_RK,
                         const TensorView& x_TC, Stream& stream) {
  return cuda::VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const int64_t channels = x_TC.dim(1);
    return cuda::VisitWidth<T>(channels, {columns_RK, x_TC}, [&]<int kWidth>() {
      return ForEachGroup(shape, [&](const Clips& clips) {
        return HETERO_CUDA_LAUNCH((SumTapsKernel<T, kWidth>), WarpARow(clips.first_in, clips.count),
                                  stream, clips, channels, columns_RK.data<T>(), x_TC.data<T>());
      });
    });
  });
}

absl::Status AddSinusoidsCuda(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                              const TensorView& out_TC, Stream& stream) {
  return cuda::VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const int64_t channels = x_TC.dim(1);
    return cuda::VisitWidth<T>(channels, {x_TC, out_TC}, [&]<int kWidth>() {
      return ForEachGroup({.lengths = lengths}, [&](const Clips& clips) {
        const cuda::LaunchShape shape = {
            .grid = cuda::NumBlocks(clips.first_in[clips.count] - clips.first_in[0], kRowsPerBlock),
            .block = kThreads};
        return HETERO_CUDA_LAUNCH((AddSinusoidsKernel<T, kWidth>), shape, stream, clips, channels,
                                  x_TC.data<T>(), out_TC.data<T>());
      });
    });
  });
}

}  // namespace hetero::internal
