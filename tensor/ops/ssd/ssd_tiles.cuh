#ifndef HETERO_TENSOR_OPS_SSD_SSD_TILES_CUH_
#define HETERO_TENSOR_OPS_SSD_SSD_TILES_CUH_

// What the scan's kernels share: the problem as they see it, where a block's chunk lies, and decays
// between tokens.

#include <cstdint>
#include <numbers>
#include <type_traits>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_mma.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/ssd/ssd_cuda.h"

namespace hetero::internal {

// A tile's extents as a type.
template <bool kIsSmall>
struct SsdTileType {
  static constexpr SsdTile kExtents = kIsSmall ? kSmallSsdTile : kLargeSsdTile;
  static constexpr int kChunk = kExtents.chunk;
  static constexpr int kHeadDim = kExtents.head_dim;
  static constexpr int kStateSize = kExtents.state_size;
};

// What a block has of one head while it loads the next.
template <typename T, typename Tile>
struct SsdStage {
  alignas(128) T rows[Tile::kChunk * cuda::TileStride<T>(Tile::kHeadDim)];
  alignas(128) T state[Tile::kHeadDim * cuda::TileStride<T>(Tile::kStateSize)];
  alignas(128) float steps[kNumSsdSteps * Tile::kChunk];
};

template <typename T>
struct SsdCudaProblem {
  SsdCudaProblem(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                 std::initializer_list<ConstTensorView> others)
      : tokens(inputs.x_TI.dim(0)),
        row_length(inputs.sequences.row_length),
        chunk_length(static_cast<int>(inputs.shape.chunk_length)),
        chunks_per_row(static_cast<int>(CeilDiv<int64_t>(row_length, inputs.shape.chunk_length))),
        heads(static_cast<int>(inputs.shape.num_heads)),
        groups(static_cast<int>(inputs.shape.num_groups)),
        head_dim(static_cast<int>(inputs.shape.head_dim)),
        state_size(static_cast<int>(inputs.shape.state_size)),
        x(cuda::RowsOf<T>(inputs.x_TI)),
        b(cuda::RowsOf<T>(inputs.b_TS)),
        c(cuda::RowsOf<T>(inputs.c_TS)),
        dt_raw(cuda::RowsOf<T>(inputs.dt_raw_TH)),
        dt_bias(inputs.dt_bias_H.data<T>()),
        a_log(inputs.a_log_H.data<T>()),
        skip(inputs.skip_H.data<T>()),
        limits_steps(inputs.steps.limit()),
        min_step(static_cast<float>(inputs.steps.min)),
        max_step(static_cast<float>(inputs.steps.max)),
        sequence_index(cuda::DataOrNull<int32_t>(inputs.sequences.sequence_index)),
        steps(workspace.steps.data<float>()),
        first(workspace.first.data<int32_t>()) {
    constexpr int kWidth = cuda::kFullWidth<T>;
    const auto dims = SsdStatesDims(inputs.shape, tokens, row_length, inputs.x_TI.dtype());
    elements_per_state = dims[2] * dims[3];
    vectors = head_dim % kWidth == 0 && state_size % kWidth == 0 &&
              cuda::AllowVectors({inputs.x_TI, inputs.b_TS, inputs.c_TS}, kWidth);
    for (const ConstTensorView& view : others) {
      vectors = vectors && cuda::AllowVectors({view}, kWidth);
    }
  }

  int64_t num_chunks() const { return tokens / row_length * chunks_per_row; }

  // Of the state that enters `chunk` of a row, a matrix [head_dim, state_size]. Chunk 0 has none.
  __device__ int64_t StateOffset(int64_t row, int chunk, int head) const {
    return ((row * (chunks_per_row - 1) + chunk - 1) * heads + head) * elements_per_state;
  }
  template <typename Tile>
  __device__ float* Steps(int64_t chunk, int head) const {
    return steps + (chunk * heads + head) * (kNumSsdSteps * Tile::kChunk);
  }

  int64_t tokens, row_length;
  int chunk_length, chunks_per_row;
  int heads, groups, head_dim, state_size;
  cuda::Rows<const T> x, b, c, dt_raw;
  const T* dt_bias;
  const T* a_log;
  const T* skip;
  bool limits_steps;
  float min_step, max_step;
  const int32_t* sequence_index;  // null: rows are the sequences
  float* steps;
  int32_t* first;
  int64_t elements_per_state;
  bool vectors;  // all token-major operands allow accesses of 16 bytes
};

// One of all rows' chunks.
struct SsdChunk {
  template <typename T>
  __device__ SsdChunk(const SsdCudaProblem<T>& p, unsigned chunk)
      : SsdChunk(p, chunk / p.chunks_per_row, static_cast<int>(chunk % p.chunks_per_row)) {}
  template <typename T>
  __device__ SsdChunk(const SsdCudaProblem<T>& p, int64_t row, int in_row)
      : row(row),
        in_row(in_row),
        first_token(row * p.row_length + int64_t{in_row} * p.chunk_length),
        length(static_cast<int>(
            min(int64_t{p.chunk_length}, p.row_length - int64_t{in_row} * p.chunk_length))),
        is_first(in_row == 0),
        is_last(in_row + 1 == p.chunks_per_row) {}

  int64_t row;
  int in_row;
  int64_t first_token;
  int length;
  bool is_first, is_last;  // no state enters, no state leaves
};

// Blocks of 16 rows of a triangle that warps w and w + kWarps / 2, neighbours on one scheduler,
// take: together the same work for all w.
template <int kWarps>
__device__ inline int BlockRowOfWarp(int warp) {
  return warp < kWarps / 2 ? warp : kWarps - 1 - (warp - kWarps / 2);
}

// What kSsdCumulative is in: bf16 takes powers of two, which are one instruction.
template <typename T>
inline constexpr double kSsdExponentUnit = std::is_same_v<T, float> ? 1.0 : std::numbers::log2e;

// exp of a sum of dt A, 0 for -inf.
template <typename T>
__device__ inline float SsdDecay(float exponent) {
  if constexpr (std::is_same_v<T, float>) {
    return expf(exponent);
  } else {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
    return result;
  }
}

// Sum of dt A over the tokens after `from` up to `to`. The difference is exact where the cumulative
// sums are close, but for their own rounding, which f32 takes back.
template <typename T>
__device__ inline float SsdExponent(float from, float from_low, float to, float to_low) {
  if constexpr (std::is_same_v<T, float>) {
    return (to - from) + (to_low - from_low);
  } else {
    return to - from;
  }
}

// Sums value[i][j] of all lanes with the same LaneColumn(): of column i * 8 + LaneColumn() + j,
// where i and j are bits 4 and 3 of the lane.
__device__ inline float ColumnSum(const float (&value)[2][2]) {
  const bool i = cuda::Lane() & 16;
  const bool j = cuda::Lane() & 8;
  float kept[2];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    kept[c] = (i ? value[1][c] : value[0][c]) +
              __shfl_xor_sync(0xffffffffu, i ? value[0][c] : value[1][c], 16);
  }
  float sum = (j ? kept[1] : kept[0]) + __shfl_xor_sync(0xffffffffu, j ? kept[0] : kept[1], 8);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 4);
}

// Calls `function.template operator()<T, Tile>()` with one of SsdTileType.
template <typename Function>
absl::Status VisitSsd(const SsdInputs& inputs, Function&& function) {
  return cuda::VisitFloat(inputs.x_TI.dtype(), [&]<typename T>() {
    return SsdTileOf(inputs.shape) == kSmallSsdTile
               ? function.template operator()<T, SsdTileType<true>>()
               : function.template operator()<T, SsdTileType<false>>();
  });
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_SSD_TILES_CUH_
