#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/vision/vision.h"

namespace hetero::internal {
namespace {

using cuda::kWarpSize;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;

// Images of one launch, by value: sizes are known on the host only. Rows of tokens and patches
// count from the first in the window, so that those before it are negative.
struct Images {
  static constexpr int kMax = 128;

  int count = 0;
  int num_class_tokens = 0;
  int64_t begin = 0;  // token rows of these images that are in the window
  int64_t end = 0;
  int64_t first_token[kMax];
  int64_t first_patch[kMax];
  int32_t rows[kMax];
  int32_t columns[kMax];
};

// Calls `launch(images)` for groups of the images that have token rows in
// [first_token, first_token + num_tokens), in order; once without images where there is none.
template <typename Launch>
absl::Status ForEachGroup(const ImageLayout& layout, int64_t first_token, int64_t num_tokens,
                          Launch&& launch) {
  int64_t token = -first_token;
  int64_t patch = -layout.PatchesBefore(first_token);
  int64_t next = 0;
  do {
    Images images;
    images.num_class_tokens = static_cast<int>(layout.num_class_tokens);
    images.begin = std::max(token, int64_t{0});
    for (; next < layout.num_images() && images.count < Images::kMax && token < num_tokens;
         ++next) {
      const int64_t patches = layout.rows(next) * layout.columns(next);
      if (token + layout.num_class_tokens + patches > 0) {
        const int i = images.count++;
        images.first_token[i] = token;
        images.first_patch[i] = patch;
        images.rows[i] = static_cast<int32_t>(layout.rows(next));
        images.columns[i] = static_cast<int32_t>(layout.columns(next));
      }
      token += layout.num_class_tokens + patches;
      patch += patches;
    }
    images.end = std::max(images.begin, std::min(token, num_tokens));
    HETERO_RETURN_IF_ERROR(launch(images));
  } while (next < layout.num_images() && token < num_tokens);
  return absl::OkStatus();
}

cuda::LaunchShape WarpAToken(const Images& images) {
  return {.grid = cuda::NumBlocks(images.end - images.begin, kWarps), .block = kThreads};
}

// What the token row of this warp is. `patch` is negative for class token patch + K.
struct Place {
  int image;
  int64_t token;
  int64_t patch;  // of its image

  __device__ static bool Find(const Images& images, Place* place) {
    place->token = images.begin + int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
    if (place->token >= images.end) return false;
    int low = 0;
    for (int high = images.count; high - low > 1;) {
      const int middle = (low + high) / 2;
      (images.first_token[middle] <= place->token ? low : high) = middle;
    }
    place->image = low;
    place->patch = place->token - images.first_token[low] - images.num_class_tokens;
    return true;
  }
};

// One axis of the resize from `source` cells to `target`. In integers, sides of up to 16384 cells:
// the centre of output cell i lies max((2 i + 1) source - target, 0) / (2 target) cells behind the
// centre of source cell 0.
struct Axis {
  int32_t source;
  int32_t target;

  // Output cell i mixes source cells `lower` and `upper`, the latter by `weight`.
  struct Mix {
    int32_t lower;
    int32_t upper;
    float weight;
  };
  __device__ Mix operator[](int32_t i) const {
    const int32_t centre = Centre(i);
    const int32_t lower = centre / (2 * target);
    return {lower, min(lower + 1, source - 1),
            static_cast<float>(centre - lower * 2 * target) / static_cast<float>(2 * target)};
  }

  // How much of source cell `cell` is in output cell i.
  __device__ float Share(int32_t i, int32_t cell) const {
    const Mix mix = (*this)[i];
    return (mix.lower == cell ? 1.0f - mix.weight : 0.0f) + (mix.upper == cell ? mix.weight : 0.0f);
  }
  // The first of `used` output cells whose lower cell is `cell` or more. They ascend.
  __device__ int32_t FirstFrom(int32_t cell, int32_t used) const {
    int32_t low = 0;
    for (int32_t high = used; low < high;) {
      const int32_t middle = (low + high) / 2;
      if (Centre(middle) < cell * 2 * target) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

 private:
  __device__ int32_t Centre(int32_t i) const { return max((2 * i + 1) * source - target, 0); }
};

struct Grid {
  int32_t rows;     // Y
  int32_t columns;  // X
};

struct Axes {
  Axis row, column;

  __device__ Axes(const Grid& grid, int32_t rows, int32_t columns) {
    const bool as_is = rows == grid.rows && columns == grid.columns;
    const int32_t side = max(rows, columns);
    row = {grid.rows, as_is ? rows : side};
    column = {grid.columns, as_is ? columns : side};
  }
};

template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void PackKernel(const __grid_constant__ Images images,
                                                       Grid grid, int64_t channels,
                                                       const T* embedding, const T* positions_YXC,
                                                       const T* class_tokens_KC, T* tokens) {
  Place place;
  if (!Place::Find(images, &place)) return;
  T* const out = tokens + place.token * channels;
  const int first = threadIdx.x % kWarpSize * kWidth;
  if (place.patch < 0) {
    const T* const from = class_tokens_KC + (place.patch + images.num_class_tokens) * channels;
    for (int64_t c = first; c < channels; c += kWarpSize * kWidth) {
      float value[kWidth];
      cuda::Load(from + c, value);
      cuda::Store(value, out + c);
    }
    return;
  }
  const int32_t columns = images.columns[place.image];
  const int32_t r = static_cast<int32_t>(place.patch / columns);
  const int32_t q = static_cast<int32_t>(place.patch % columns);
  const Axes axes(grid, images.rows[place.image], columns);
  const auto cell = [&](int32_t y, int32_t x) {
    return positions_YXC + (int64_t{y} * grid.columns + x) * channels;
  };
  const Axis::Mix row = axes.row[r];
  const Axis::Mix column = axes.column[q];
  const T* const above_left = cell(row.lower, column.lower);
  const T* const above_right = cell(row.lower, column.upper);
  const T* const below_left = cell(row.upper, column.lower);
  const T* const below_right = cell(row.upper, column.upper);
  const float v = row.weight;
  const float u = column.weight;
  const T* const from = embedding + (images.first_patch[place.image] + place.patch) * channels;
  for (int64_t c = first; c < channels; c += kWarpSize * kWidth) {
    float value[kWidth], a[kWidth], b[kWidth], d[kWidth], e[kWidth];
    cuda::Load(from + c, value);
    cuda::Load(above_left + c, a);
    cuda::Load(above_right + c, b);
    cuda::Load(below_left + c, d);
    cuda::Load(below_right + c, e);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float upper = a[i] + u * (b[i] - a[i]);
      const float lower = d[i] + u * (e[i] - d[i]);
      value[i] += upper + v * (lower - upper);
    }
    cuda::Store(value, out + c);
  }
}

// Patches of an image that take something of one cell of the grid; none where a range is empty.
struct PatchRange {
  int32_t r_begin, r_end;
  int32_t q_begin, q_end;
};

// d_positions: a block sums what all images of the launch give one cell of the grid. `zero`: the
// sum overwrites the cell.
template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void PositionGradientKernel(
    const __grid_constant__ Images images, Grid grid, int64_t channels, const T* d_tokens,
    float* d_positions_YXC, bool zero) {
  __shared__ PatchRange ranges[Images::kMax];
  const int32_t y = blockIdx.x / grid.columns;
  const int32_t x = blockIdx.x % grid.columns;
  for (int image = threadIdx.x; image < images.count; image += blockDim.x) {
    const int32_t rows = images.rows[image];
    const int32_t columns = images.columns[image];
    const Axes axes(grid, rows, columns);
    // Rows of the image with patches in the window.
    const int64_t first = images.first_token[image] + images.num_class_tokens;
    const int32_t r_first = static_cast<int32_t>(max(images.begin - first, int64_t{0}) / columns);
    const int32_t r_last = static_cast<int32_t>(
        min((max(images.end - first, int64_t{0}) + columns - 1) / columns, int64_t{rows}));
    ranges[image] = {max(axes.row.FirstFrom(y - 1, rows), r_first),
                     min(axes.row.FirstFrom(y + 1, rows), r_last),
                     axes.column.FirstFrom(x - 1, columns), axes.column.FirstFrom(x + 1, columns)};
  }
  __syncthreads();
  for (int64_t c = threadIdx.x * kWidth; c < channels; c += blockDim.x * kWidth) {
    float sum[kWidth] = {};
    bool touched = zero;
    for (int image = 0; image < images.count; ++image) {
      const PatchRange range = ranges[image];
      if (range.r_begin >= range.r_end || range.q_begin == range.q_end) continue;
      const int32_t columns = images.columns[image];
      const Axes axes(grid, images.rows[image], columns);
      const int64_t first = images.first_token[image] + images.num_class_tokens;
      for (int32_t r = range.r_begin; r < range.r_end; ++r) {
        const float row_share = axes.row.Share(r, y);
        if (row_share == 0) continue;
        for (int32_t q = range.q_begin; q < range.q_end; ++q) {
          const int64_t token = first + int64_t{r} * columns + q;
          if (token < images.begin || token >= images.end) continue;
          const float share = row_share * axes.column.Share(q, x);
          if (share == 0) continue;
          float value[kWidth];
          cuda::Load(d_tokens + token * channels + c, value);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) sum[i] += share * value[i];
          touched = true;
        }
      }
    }
    if (!touched) continue;
    float* const to = d_positions_YXC + int64_t{blockIdx.x} * channels + c;
    if (!zero) {
      float before[kWidth];
      cuda::Load(to, before);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] = before[i] + sum[i];
    }
    cuda::Store(sum, to);
  }
}

// d_class_tokens, a thread an element.
template <typename T>
__global__ __launch_bounds__(kThreads) void ClassTokenGradientKernel(
    const __grid_constant__ Images images, int64_t channels, const T* d_tokens,
    float* d_class_tokens_KC, bool zero) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= images.num_class_tokens * channels) return;
  float sum = 0;
#pragma unroll 4
  for (int image = 0; image < images.count; ++image) {
    const int64_t token = images.first_token[image] + i / channels;
    if (token < images.begin || token >= images.end) continue;
    sum += cuda::ToFloat(d_tokens[images.first_token[image] * channels + i]);
  }
  d_class_tokens_KC[i] = zero ? sum : d_class_tokens_KC[i] + sum;
}

enum class TokenMove { kPatchesOut, kShuffle, kUnshuffle };

// Copies the row of a token, `accesses` long. kPatchesOut: patches to rows one after another;
// kShuffle: to their quarter of a feature row; kUnshuffle: back from there, and zero to the class
// tokens. The first patch of the window is row `first_row` of those; of [0, num_rows) kShuffle
// writes.
template <TokenMove kMove, typename Access>
__global__ __launch_bounds__(kThreads) void MoveTokensKernel(const __grid_constant__ Images images,
                                                             int64_t first_row, int64_t num_rows,
                                                             int64_t accesses, const Access* from,
                                                             Access* to) {
  Place place;
  if (!Place::Find(images, &place)) return;
  const bool is_class = place.patch < 0;
  if (is_class && kMove != TokenMove::kUnshuffle) return;
  int64_t patch = place.patch;
  if (kMove != TokenMove::kPatchesOut && !is_class) {
    const int32_t columns = images.columns[place.image];
    const int64_t r = place.patch / columns;
    const int64_t q = place.patch % columns;
    patch = (r / 2 * (columns / 2) + q / 2) * 4 + r % 2 * 2 + q % 2;
  }
  patch += first_row + images.first_patch[place.image];
  if (kMove == TokenMove::kShuffle && (patch < 0 || patch >= num_rows)) return;
  constexpr bool kToTokens = kMove == TokenMove::kUnshuffle;
  from += (kToTokens ? patch : place.token) * accesses;
  to += (kToTokens ? place.token : patch) * accesses;
#pragma unroll 4
  for (int64_t i = threadIdx.x % kWarpSize; i < accesses; i += kWarpSize) {
    to[i] = is_class ? Access{} : from[i];
  }
}

// Rows of both are taken as long as a token's, `channels`; `num_rows` of them are outside the
// window of tokens.
template <TokenMove kMove>
absl::Status MoveTokens(const ImageLayout& layout, int64_t first_token, int64_t num_tokens,
                        int64_t first_row, int64_t num_rows, int64_t channels,
                        const ConstTensorView& from, const TensorView& to, Stream& stream) {
  const int64_t size = SizeOf(from.dtype());
  const auto launch = [&]<typename Access>() {
    return ForEachGroup(layout, first_token, num_tokens, [&](const Images& images) {
      return HETERO_CUDA_LAUNCH(
          (MoveTokensKernel<kMove, Access>), WarpAToken(images), stream, images, first_row,
          num_rows, channels * size / static_cast<int64_t>(sizeof(Access)),
          static_cast<const Access*>(from.address()), static_cast<Access*>(to.address()));
    });
  };
  const int full = static_cast<int>(16 / size);
  if (channels % full == 0 && cuda::AllowVectors({from, to}, full)) {
    return launch.template operator()<uint4>();
  }
  return size == 2 ? launch.template operator()<uint16_t>()
                   : launch.template operator()<uint32_t>();
}

Grid GridOf(const ConstTensorView& positions_YXC) {
  return {static_cast<int32_t>(positions_YXC.dim(0)), static_cast<int32_t>(positions_YXC.dim(1))};
}

absl::Status AddParameterGradients(const ImageLayout& layout,
                                   const PackImageTokensBackwardArgs& args, Stream& stream) {
  const int64_t channels = args.d_tokens_WC.dim(1);
  const Grid grid = GridOf(args.d_positions_YXC);
  bool zero_positions = !args.accumulate_positions;
  bool zero_class_tokens = !args.accumulate_class_tokens;
  const auto add = [&](const Images& images) {
    return cuda::VisitFloat(args.d_tokens_WC.dtype(), [&]<typename T>() -> absl::Status {
      const T* const d_tokens = args.d_tokens_WC.data<T>();
      const cuda::LaunchShape elements = {
          .grid = cuda::NumBlocks(args.d_class_tokens_KC.num_elements(), kThreads),
          .block = kThreads};
      HETERO_RETURN_IF_ERROR(
          HETERO_CUDA_LAUNCH(ClassTokenGradientKernel<T>, elements, stream, images, channels,
                             d_tokens, args.d_class_tokens_KC.data<float>(), zero_class_tokens));
      return cuda::VisitWidth<T>(
          channels, {args.d_tokens_WC, args.d_positions_YXC}, [&]<int kWidth>() {
            const cuda::LaunchShape cells = {
                .grid = static_cast<unsigned>(int64_t{grid.rows} * grid.columns),
                .block = static_cast<unsigned>(
                    std::clamp<int64_t>(CeilDiv(channels / kWidth, kWarpSize), 1, kWarps) *
                    kWarpSize)};
            return HETERO_CUDA_LAUNCH((PositionGradientKernel<T, kWidth>), cells, stream, images,
                                      grid, channels, d_tokens, args.d_positions_YXC.data<float>(),
                                      zero_positions);
          });
    });
  };
  return ForEachGroup(layout, args.first_token, args.d_tokens_WC.dim(0), [&](const Images& images) {
    const absl::Status status = add(images);
    zero_positions = zero_class_tokens = false;
    return status;
  });
}

}  // namespace

absl::Status PackImageTokensCuda(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                                 const ConstTensorView& positions_YXC,
                                 const ConstTensorView& class_tokens_KC, int64_t first_token,
                                 const TensorView& tokens_WC, Stream& stream) {
  return cuda::VisitFloat(tokens_WC.dtype(), [&]<typename T>() {
    const int64_t channels = tokens_WC.dim(1);
    return cuda::VisitWidth<T>(
        channels, {embedding_NC, positions_YXC, class_tokens_KC, tokens_WC}, [&]<int kWidth>() {
          return ForEachGroup(layout, first_token, tokens_WC.dim(0), [&](const Images& images) {
            return HETERO_CUDA_LAUNCH((PackKernel<T, kWidth>), WarpAToken(images), stream, images,
                                      GridOf(positions_YXC), channels, embedding_NC.data<T>(),
                                      positions_YXC.data<T>(), class_tokens_KC.data<T>(),
                                      tokens_WC.data<T>());
          });
        });
  });
}

absl::Status PackImageTokensBackwardCuda(const ImageLayout& layout,
                                         const PackImageTokensBackwardArgs& args, Stream& stream) {
  if (!args.d_positions_YXC.is_null()) {
    HETERO_RETURN_IF_ERROR(AddParameterGradients(layout, args, stream));
  }
  if (args.d_embedding_NC.is_null()) return absl::OkStatus();
  return MoveTokens<TokenMove::kPatchesOut>(layout, args.first_token, args.d_tokens_WC.dim(0),
                                            /*first_row=*/0, args.d_embedding_NC.dim(0),
                                            args.d_tokens_WC.dim(1), args.d_tokens_WC,
                                            args.d_embedding_NC, stream);
}

absl::Status ShufflePixelsCuda(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                               int64_t first_feature, const TensorView& features_WC,
                               Stream& stream) {
  return MoveTokens<TokenMove::kShuffle>(layout, /*first_token=*/0, tokens_SC.dim(0),
                                         -4 * first_feature, 4 * features_WC.dim(0),
                                         tokens_SC.dim(1), tokens_SC, features_WC, stream);
}

absl::Status ShufflePixelsBackwardCuda(const ImageLayout& layout,
                                       const ConstTensorView& d_features_NC, int64_t first_token,
                                       const TensorView& d_tokens_WC, Stream& stream) {
  return MoveTokens<TokenMove::kUnshuffle>(
      layout, first_token, d_tokens_WC.dim(0), layout.PatchesBefore(first_token),
      4 * d_features_NC.dim(0), d_tokens_WC.dim(1), d_features_NC, d_tokens_WC, stream);
}

}  // namespace hetero::internal
