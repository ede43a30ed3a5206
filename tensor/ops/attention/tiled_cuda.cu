#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/attention/tiled_cuda.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {
namespace {

using cuda::Rows;
using cuda::RowsOf;

// A block is a square of threads. Thread (x, y) owns the elements (y + kSide i, x + kSide j) of
// every product: what a warp reads of a tile's row is contiguous, of a column's rows broadcast.
constexpr int kSide = 16;
constexpr int kThreads = kSide * kSide;

// A kernel's argument: larger packs are more launches.
struct TileMap {
  static constexpr int kMaxSegments = 256;

  int count = 0;
  int32_t first_tile[kMaxSegments];
  int32_t begin[kMaxSegments];
  int32_t end[kMaxSegments];
};

// Rows [first, first + rows of a tile) of the segment [begin, end).
struct TilePlace {
  int64_t first, begin, end;
};

__device__ TilePlace PlaceOf(const TileMap& map, int tile, int rows) {
  int low = 0, high = map.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (map.first_tile[middle] <= tile) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int64_t begin = map.begin[low];
  return {begin + int64_t{tile - map.first_tile[low]} * rows, begin, map.end[low]};
}

// Calls `launch(map, number of tiles)` until all segments are covered.
template <typename Function>
absl::Status ForTiles(std::span<const int32_t> segments, int rows, Function&& launch) {
  TileMap map;
  int32_t tiles = 0;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const int32_t length = segments[s + 1] - segments[s];
    if (length == 0) continue;
    map.first_tile[map.count] = tiles;
    map.begin[map.count] = segments[s];
    map.end[map.count] = segments[s + 1];
    tiles += CeilDiv(length, rows);
    if (++map.count == TileMap::kMaxSegments) {
      HETERO_RETURN_IF_ERROR(launch(map, tiles));
      map.count = tiles = 0;
    }
  }
  return tiles == 0 ? absl::OkStatus() : launch(map, tiles);
}

template <int kSize>
inline constexpr int kTileRows = kSize <= 128 ? 64 : 32;

// Four more than a multiple of 32: 16-byte reads of neighbouring rows meet different banks.
template <int kColumns>
inline constexpr int kPitch = kColumns + 4;

// Where a head lies in a row of qkv.
struct HeadLayout {
  int heads_per_group, size;

  __device__ int64_t Query(int head) const {
    return (int64_t{head / heads_per_group} * (heads_per_group + 2) + head % heads_per_group) *
           size;
  }
  __device__ int64_t Key(int group) const {
    return (int64_t{group} * (heads_per_group + 2) + heads_per_group) * size;
  }
  __device__ int64_t Value(int group) const { return Key(group) + size; }
  __device__ int64_t Out(int head) const { return int64_t{head} * size; }
};

// tile[r, c] = x[first + r, column + c], zero beyond `end` and beyond the head's `size`.
template <int kSize, typename T>
__device__ void LoadTile(Rows<const T> x, int64_t column, int64_t first, int64_t end, int size,
                         float* tile) {
#pragma unroll 8
  for (int i = threadIdx.x; i < kTileRows<kSize> * kSize; i += kThreads) {
    const int r = i / kSize;
    const int c = i % kSize;
    const bool held = first + r < end && c < size;
    tile[r * kPitch<kSize> + c] = held ? cuda::ToFloat(x[first + r][column + c]) : 0.0f;
  }
}

// Element (i, j) of a thread's part of a bᵀ.
template <int kSize, int kPart>
__device__ void ProductOfRows(const float* a, const float* b, float (&product)[kPart][kPart]) {
  const int x = threadIdx.x % kSide;
  const int y = threadIdx.x / kSide;
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
#pragma unroll
    for (int j = 0; j < kPart; ++j) product[i][j] = 0;
  }
#pragma unroll 2
  for (int c = 0; c < kSize; c += 4) {
    float a_row[kPart][4], b_row[kPart][4];
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      cuda::Load(a + (y + kSide * i) * kPitch<kSize> + c, a_row[i]);
      cuda::Load(b + (x + kSide * i) * kPitch<kSize> + c, b_row[i]);
    }
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
#pragma unroll
        for (int u = 0; u < 4; ++u) product[i][j] = fmaf(a_row[i][u], b_row[j][u], product[i][j]);
      }
    }
  }
}

// sum += a b of a square tile a and rows b; a's rows are the thread's.
template <int kSize, int kPart, int kColumns>
__device__ void AddProduct(const float* a, const float* b, float (&sum)[kPart][kColumns]) {
  constexpr int kLength = kTileRows<kSize>;
  const int x = threadIdx.x % kSide;
  const int y = threadIdx.x / kSide;
#pragma unroll 2
  for (int l = 0; l < kLength; l += 4) {
    float a_row[kPart][4];
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      cuda::Load(a + (y + kSide * i) * kPitch<kLength> + l, a_row[i]);
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float b_element = b[(l + u) * kPitch<kSize> + x + kSide * c];
#pragma unroll
        for (int i = 0; i < kPart; ++i) sum[i][c] = fmaf(a_row[i][u], b_element, sum[i][c]);
      }
    }
  }
}

// x[first + row, column + :] = part · factor[row], the thread's elements of it.
template <int kPart, int kColumns, typename T>
__device__ void StoreTile(const float (&part)[kPart][kColumns], const float (&factor)[kPart],
                          int64_t column, int64_t first, int64_t end, int size, Rows<T> x) {
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    const int64_t row = first + threadIdx.x / kSide + kSide * i;
    if (row >= end) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int at = threadIdx.x % kSide + kSide * c;
      if (at < size) x[row][column + at] = cuda::FromFloat<T>(part[i][c] * factor[i]);
    }
  }
}

__device__ bool Sees(bool causal, int64_t query, int64_t key, int64_t end) {
  return query < end && key < end && (!causal || key <= query);
}

// Shared memory: `num_tiles` tiles of rows and `num_squares` of scores.
template <int kSize>
constexpr size_t SharedBytes(int num_tiles, int num_squares) {
  constexpr int kRows = kTileRows<kSize>;
  return sizeof(float) * kRows * (num_tiles * kPitch<kSize> + num_squares * kPitch<kRows>);
}

struct ScoreRule {
  bool causal;
  float scale;
};

template <int kSize, typename T>
__global__ __launch_bounds__(kThreads) void ForwardKernel(const __grid_constant__ TileMap map,
                                                          HeadLayout layout, ScoreRule rule,
                                                          Rows<const T> qkv, Rows<T> o,
                                                          Rows<float> lse_HT) {
  constexpr int kRows = kTileRows<kSize>;
  constexpr int kPart = kRows / kSide;
  constexpr int kColumns = kSize / kSide;
  extern __shared__ float4 shared[];
  float* const query = reinterpret_cast<float*>(shared);
  float* const key = query + kRows * kPitch<kSize>;
  float* const value = key + kRows * kPitch<kSize>;
  float* const probability = value + kRows * kPitch<kSize>;
  const int x = threadIdx.x % kSide;
  const int y = threadIdx.x / kSide;
  const int head = blockIdx.y;
  const int group = head / layout.heads_per_group;
  // The last tiles of a causal segment are the longest: they start first.
  const TilePlace place = PlaceOf(map, gridDim.x - 1 - blockIdx.x, kRows);

  LoadTile<kSize>(qkv, layout.Query(head), place.first, place.end, layout.size, query);
  float out[kPart][kColumns] = {};
  float maximum[kPart], sum[kPart];
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    maximum[i] = -INFINITY;
    sum[i] = 0;
  }
  const int64_t last = rule.causal ? min(place.first + kRows, place.end) : place.end;
  for (int64_t first_key = place.begin; first_key < last; first_key += kRows) {
    __syncthreads();
    LoadTile<kSize>(qkv, layout.Key(group), first_key, place.end, layout.size, key);
    LoadTile<kSize>(qkv, layout.Value(group), first_key, place.end, layout.size, value);
    __syncthreads();
    float score[kPart][kPart];
    ProductOfRows<kSize>(query, key, score);
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      // Rows beyond the end compute what nobody reads; all rows see the first key.
      const int64_t row = min(place.first + y + kSide * i, place.end - 1);
      float largest = maximum[i];
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
        const bool sees = Sees(rule.causal, row, first_key + x + kSide * j, place.end);
        score[i][j] = sees ? score[i][j] * rule.scale : -INFINITY;
        largest = fmaxf(largest, score[i][j]);
      }
      largest = cuda::WarpMaximum<kSide>(largest);
      float added = 0;
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
        const float p = expf(score[i][j] - largest);
        probability[(y + kSide * i) * kPitch<kRows> + x + kSide * j] = p;
        added += p;
      }
      const float kept = expf(maximum[i] - largest);
      sum[i] = sum[i] * kept + cuda::WarpSum<kSide>(added);
      maximum[i] = largest;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) out[i][c] *= kept;
    }
    __syncwarp();  // a row of probabilities belongs to half a warp
    AddProduct<kSize>(probability, value, out);
  }
  float factor[kPart];
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    const int64_t row = place.first + y + kSide * i;
    factor[i] = 1.0f / sum[i];
    if (x == 0 && row < place.end) lse_HT[head][row] = maximum[i] + logf(sum[i]);
  }
  StoreTile(out, factor, layout.Out(head), place.first, place.end, layout.size, o);
}

// A warp takes a row of one head.
template <typename T>
__global__ __launch_bounds__(kThreads) void DeltaKernel(Rows<const T> o, Rows<const T> d_o,
                                                        int size, int64_t tokens, int64_t num_rows,
                                                        float* delta_HT) {
  const int64_t n = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / cuda::kWarpSize;
  if (n >= num_rows) return;
  const int64_t head = n / tokens;
  const int64_t row = n % tokens;
  float sum = 0;
  for (int c = threadIdx.x % cuda::kWarpSize; c < size; c += cuda::kWarpSize) {
    sum =
        fmaf(cuda::ToFloat(o[row][head * size + c]), cuda::ToFloat(d_o[row][head * size + c]), sum);
  }
  sum = cuda::WarpSum(sum);
  if (threadIdx.x % cuda::kWarpSize == 0) delta_HT[n] = sum;
}

template <int kSize, typename T>
__global__ __launch_bounds__(kThreads) void DQueryKernel(
    const __grid_constant__ TileMap map, HeadLayout layout, ScoreRule rule, Rows<const T> qkv,
    Rows<const T> d_o, Rows<const float> lse_HT, Rows<const float> delta_HT, Rows<T> d_qkv) {
  constexpr int kRows = kTileRows<kSize>;
  constexpr int kPart = kRows / kSide;
  constexpr int kColumns = kSize / kSide;
  extern __shared__ float4 shared[];
  float* const query = reinterpret_cast<float*>(shared);
  float* const d_out = query + kRows * kPitch<kSize>;
  float* const key = d_out + kRows * kPitch<kSize>;
  float* const value = key + kRows * kPitch<kSize>;
  float* const d_score = value + kRows * kPitch<kSize>;
  const int x = threadIdx.x % kSide;
  const int y = threadIdx.x / kSide;
  const int head = blockIdx.y;
  const int group = head / layout.heads_per_group;
  const TilePlace place = PlaceOf(map, gridDim.x - 1 - blockIdx.x, kRows);

  LoadTile<kSize>(qkv, layout.Query(head), place.first, place.end, layout.size, query);
  LoadTile<kSize>(d_o, layout.Out(head), place.first, place.end, layout.size, d_out);
  float lse[kPart], delta[kPart], factor[kPart];
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    const int64_t row = min(place.first + y + kSide * i, place.end - 1);
    lse[i] = lse_HT[head][row];
    delta[i] = delta_HT[head][row];
    factor[i] = rule.scale;
  }
  float d_query[kPart][kColumns] = {};
  const int64_t last = rule.causal ? min(place.first + kRows, place.end) : place.end;
  for (int64_t first_key = place.begin; first_key < last; first_key += kRows) {
    __syncthreads();
    LoadTile<kSize>(qkv, layout.Key(group), first_key, place.end, layout.size, key);
    LoadTile<kSize>(qkv, layout.Value(group), first_key, place.end, layout.size, value);
    __syncthreads();
    float score[kPart][kPart], d_probability[kPart][kPart];
    ProductOfRows<kSize>(query, key, score);
    ProductOfRows<kSize>(d_out, value, d_probability);
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      const int64_t row = place.first + y + kSide * i;
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
        const bool sees = Sees(rule.causal, row, first_key + x + kSide * j, place.end);
        const float p = sees ? expf(score[i][j] * rule.scale - lse[i]) : 0.0f;
        d_score[(y + kSide * i) * kPitch<kRows> + x + kSide * j] =
            p * (d_probability[i][j] - delta[i]);
      }
    }
    __syncwarp();
    AddProduct<kSize>(d_score, key, d_query);
  }
  StoreTile(d_query, factor, layout.Query(head), place.first, place.end, layout.size, d_qkv);
}

// A block takes a tile of keys and sums over the group's heads.
template <int kSize, typename T>
__global__ __launch_bounds__(kThreads) void DKeyKernel(const __grid_constant__ TileMap map,
                                                       HeadLayout layout, ScoreRule rule,
                                                       Rows<const T> qkv, Rows<const T> d_o,
                                                       Rows<const float> lse_HT,
                                                       Rows<const float> delta_HT, Rows<T> d_qkv) {
  constexpr int kRows = kTileRows<kSize>;
  constexpr int kPart = kRows / kSide;
  constexpr int kColumns = kSize / kSide;
  extern __shared__ float4 shared[];
  float* const key = reinterpret_cast<float*>(shared);
  float* const value = key + kRows * kPitch<kSize>;
  float* const query = value + kRows * kPitch<kSize>;
  float* const d_out = query + kRows * kPitch<kSize>;
  float* const probability = d_out + kRows * kPitch<kSize>;
  float* const d_score = probability + kRows * kPitch<kRows>;
  const int x = threadIdx.x % kSide;
  const int y = threadIdx.x / kSide;
  const int group = blockIdx.y;
  const TilePlace place = PlaceOf(map, blockIdx.x, kRows);

  LoadTile<kSize>(qkv, layout.Key(group), place.first, place.end, layout.size, key);
  LoadTile<kSize>(qkv, layout.Value(group), place.first, place.end, layout.size, value);
  float d_key[kPart][kColumns] = {};
  float d_value[kPart][kColumns] = {};
  const int64_t first_of_all = rule.causal ? place.first : place.begin;
  for (int r = 0; r < layout.heads_per_group; ++r) {
    const int head = group * layout.heads_per_group + r;
    for (int64_t first = first_of_all; first < place.end; first += kRows) {
      __syncthreads();
      LoadTile<kSize>(qkv, layout.Query(head), first, place.end, layout.size, query);
      LoadTile<kSize>(d_o, layout.Out(head), first, place.end, layout.size, d_out);
      float lse[kPart], delta[kPart];
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
        const int64_t row = min(first + x + kSide * j, place.end - 1);
        lse[j] = lse_HT[head][row];
        delta[j] = delta_HT[head][row];
      }
      __syncthreads();
      // Transposed: rows are keys, columns queries.
      float score[kPart][kPart], d_probability[kPart][kPart];
      ProductOfRows<kSize>(key, query, score);
      ProductOfRows<kSize>(value, d_out, d_probability);
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
        const int64_t key_row = place.first + y + kSide * i;
#pragma unroll
        for (int j = 0; j < kPart; ++j) {
          const bool sees = Sees(rule.causal, first + x + kSide * j, key_row, place.end);
          const float p = sees ? expf(score[i][j] * rule.scale - lse[j]) : 0.0f;
          const int at = (y + kSide * i) * kPitch<kRows> + x + kSide * j;
          probability[at] = p;
          d_score[at] = p * (d_probability[i][j] - delta[j]);
        }
      }
      __syncwarp();
      AddProduct<kSize>(probability, d_out, d_value);
      AddProduct<kSize>(d_score, query, d_key);
    }
  }
  float scale[kPart], one[kPart];
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    scale[i] = rule.scale;
    one[i] = 1;
  }
  StoreTile(d_key, scale, layout.Key(group), place.first, place.end, layout.size, d_qkv);
  StoreTile(d_value, one, layout.Value(group), place.first, place.end, layout.size, d_qkv);
}

// Calls `function.template operator()<kSize>()` with the columns that tiles have for the head size.
template <typename Function>
absl::Status VisitSize(int64_t head_size, Function&& function) {
  if (head_size <= 32) return function.template operator()<32>();
  if (head_size <= 64) return function.template operator()<64>();
  if (head_size <= 128) return function.template operator()<128>();
  return function.template operator()<256>();
}

HeadLayout LayoutOf(const AttentionShape& shape) {
  return {static_cast<int>(shape.heads_per_group), static_cast<int>(shape.head_size)};
}

ScoreRule RuleOf(const AttentionShape& shape) {
  return {shape.causal, static_cast<float>(shape.scale)};
}

}  // namespace

absl::Status AttentionForwardTiled(const AttentionForwardArgs& args, Stream& stream) {
  const AttentionShape& shape = args.shape;
  const auto heads = static_cast<unsigned>(shape.num_groups * shape.heads_per_group);
  return cuda::VisitFloat(args.qkv.dtype(), [&]<typename T>() {
    return VisitSize(shape.head_size, [&]<int kSize>() {
      return ForTiles(shape.segments, kTileRows<kSize>, [&](const TileMap& map, int32_t tiles) {
        const cuda::LaunchShape launch = {.grid = {static_cast<unsigned>(tiles), heads},
                                          .block = kThreads,
                                          .shared_bytes = SharedBytes<kSize>(3, 1)};
        return HETERO_CUDA_LAUNCH((ForwardKernel<kSize, T>), launch, stream, map, LayoutOf(shape),
                                  RuleOf(shape), RowsOf<T>(args.qkv), RowsOf<T>(args.o),
                                  RowsOf<float>(args.lse_HT));
      });
    });
  });
}

absl::Status AttentionBackwardTiled(const AttentionBackwardArgs& args, const TensorView& delta_HT,
                                    Stream& stream) {
  const AttentionShape& shape = args.shape;
  const int64_t heads = shape.num_groups * shape.heads_per_group;
  const int64_t tokens = args.qkv.dim(0);
  const int64_t num_rows = heads * tokens;
  return cuda::VisitFloat(args.qkv.dtype(), [&]<typename T>() -> absl::Status {
    HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(
        DeltaKernel<T>,
        (cuda::LaunchShape{.grid = cuda::NumBlocks(num_rows, kThreads / cuda::kWarpSize),
                           .block = kThreads}),
        stream, RowsOf<T>(args.o), RowsOf<T>(args.d_o), static_cast<int>(shape.head_size), tokens,
        num_rows, delta_HT.data<float>()));
    const auto launch = [&](std::string_view name, auto kernel_of_size, int num_squares,
                            int64_t blocks_of_tile) {
      return VisitSize(shape.head_size, [&]<int kSize>() {
        return ForTiles(shape.segments, kTileRows<kSize>, [&](const TileMap& map, int32_t tiles) {
          const cuda::LaunchShape grid = {
              .grid = {static_cast<unsigned>(tiles), static_cast<unsigned>(blocks_of_tile)},
              .block = kThreads,
              .shared_bytes = SharedBytes<kSize>(4, num_squares)};
          return cuda::Launch(name, kernel_of_size(std::integral_constant<int, kSize>()), grid,
                              stream, map, LayoutOf(shape), RuleOf(shape), RowsOf<T>(args.qkv),
                              RowsOf<T>(args.d_o), RowsOf<float>(args.lse_HT),
                              RowsOf<float>(ConstTensorView(delta_HT)), RowsOf<T>(args.d_qkv));
        });
      });
    };
    HETERO_RETURN_IF_ERROR(launch(
        "DQueryKernel", [](auto size) { return &DQueryKernel<size(), T>; }, 1, heads));
    return launch(
        "DKeyKernel", [](auto size) { return &DKeyKernel<size(), T>; }, 2, shape.num_groups);
  });
}

}  // namespace hetero::internal
