#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/ssd/ssd_tiles.cuh"

// The recurrence over the chunks of a row, which forward and backward share:
//
//   state <- decay of the chunk * state + sum over its tokens of weight_t row_t (x) column_t
//
// forward:  weight dt times the decay to the chunk's end, rows x, columns B; chunk after chunk; a
//           chunk leaves the state that enters the next
// backward: weight the decay from the chunk's start, rows d_y, columns C; in reverse; a chunk
//           leaves the gradient of the state that entered it
//
// A block keeps [P, 64] of one head's state in f32 registers over the whole row while the next
// chunks' tiles arrive: neither the chunks' own sums nor f32 states are ever stored.

namespace hetero::internal {
namespace {

template <typename T, typename Tile>
struct StatesStage {
  static constexpr int kColumns = Tile::kExtents.state_block_columns();

  alignas(128) T rows[Tile::kChunk * cuda::TileStride<T>(Tile::kHeadDim)];
  alignas(128) T columns[Tile::kChunk * cuda::TileStride<T>(kColumns)];
  alignas(128) T entering[Tile::kHeadDim * cuda::TileStride<T>(kColumns)];  // backward only
  alignas(128) float weights[Tile::kChunk];
  float from_start[Tile::kChunk];
};

template <typename T, typename Tile, bool kReverse>
__global__ __launch_bounds__(Tile::kExtents.num_state_warps() * cuda::kWarpSize,
                             1) void StatesKernel(SsdCudaProblem<T> p, cuda::Rows<const T> rows,
                                                  cuda::Rows<const T> columns, const T* states,
                                                  T* out, float* state_sums) {
  using Stage = StatesStage<T, Tile>;
  constexpr int kThreads = Tile::kExtents.num_state_warps() * cuda::kWarpSize;
  constexpr int kStages = sizeof(T) == 2 ? 3 : 2;
  constexpr int kColumns = Stage::kColumns;
  constexpr int kRowStride = cuda::TileStride<T>(Tile::kHeadDim);
  constexpr int kColumnStride = cuda::TileStride<T>(kColumns);
  extern __shared__ __align__(128) unsigned char shared[];
  Stage* const stages = reinterpret_cast<Stage*>(shared);

  const int thread = cuda::ThreadIndex();
  const int head = static_cast<int>(blockIdx.y);
  const int64_t row = blockIdx.z;
  const int group = head / (p.heads / p.groups);
  const int first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int valid_columns = p.state_size - first_column;
  const int num_states = p.chunks_per_row - 1;
  const int warp = thread / cuda::kWarpSize;
  const int row_of_warp = warp % (Tile::kHeadDim / 16) * 16;
  const int column_of_warp = warp / (Tile::kHeadDim / 16) * 32;
  const auto chunk_of = [&](int i) { return kReverse ? num_states - i : i; };
  const T* const rows_at = rows[row * p.row_length] + int64_t{head} * p.head_dim;
  const T* const columns_at =
      columns[row * p.row_length] + int64_t{group} * p.state_size + first_column;
  // Of chunk 0, which no state enters; a chunk further is as many elements further.
  const int64_t state_stride = p.heads * p.elements_per_state;
  const int64_t state_at = p.StateOffset(row, 1, head) + first_column - state_stride;
  const int64_t steps_stride = int64_t{p.heads} * (kNumSsdSteps * Tile::kChunk);
  const float* const steps_at = p.template Steps<Tile>(row * p.chunks_per_row, head);
  const auto fill = [&](int i) {
    if (i < num_states) {
      Stage& stage = stages[i % kStages];
      const int chunk = chunk_of(i);
      const int64_t token = int64_t{chunk} * p.chunk_length;
      const int length = static_cast<int>(min(int64_t{p.chunk_length}, p.row_length - token));
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kHeadDim>(
          thread, stage.rows, rows_at + token * rows.stride, rows.stride, length, p.head_dim,
          p.vectors);
      cuda::FillTile<kThreads, Tile::kChunk, kColumns>(
          thread, stage.columns, columns_at + token * columns.stride, columns.stride, length,
          valid_columns, p.vectors);
      if constexpr (kReverse) {
        cuda::FillTile<kThreads, Tile::kHeadDim, kColumns>(
            thread, stage.entering, states + state_at + chunk * state_stride, p.state_size,
            p.head_dim, valid_columns, p.vectors);
      }
      const float* const steps = steps_at + chunk * steps_stride;
      cuda::FillFloats<kThreads, Tile::kChunk>(thread, stage.from_start,
                                               steps + kSsdFromStart * Tile::kChunk);
      if constexpr (!kReverse) {
        cuda::FillFloats<kThreads, Tile::kChunk>(thread, stage.weights,
                                                 steps + kSsdIntoState * Tile::kChunk);
      }
    }
    cuda::CommitCopies();
  };

#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) fill(i);
  float state[4][4] = {};
  for (int i = 0; i < num_states; ++i) {
    cuda::AwaitCopies<kStages - 2>();
    __syncthreads();
    fill(i + kStages - 1);
    const Stage& stage = stages[i % kStages];
    if constexpr (kReverse) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float2 entering = cuda::LoadPair(
            stage.entering + (row_of_warp + cuda::LaneRow() + j % 2 * 8) * kColumnStride +
            column_of_warp + j / 2 * 8 + cuda::LaneColumn());
        const float(&at)[4] = state[j / 2];
        sum += entering.x * at[j % 2 * 2] + entering.y * at[j % 2 * 2 + 1];
      }
      sum = cuda::WarpSum(sum);
      const int64_t chunk_head = (row * p.chunks_per_row + chunk_of(i)) * p.heads + head;
      if (cuda::Lane() == 0) {
        state_sums[chunk_head * Tile::kExtents.num_state_parts() +
                   static_cast<int>(blockIdx.x) * Tile::kExtents.num_state_warps() + warp] = sum;
      }
    }
    const float* const weights = kReverse ? stage.from_start : stage.weights;
    const float decay = stage.from_start[Tile::kChunk - 1];
#pragma unroll
    for (int j = 0; j < 16; ++j) state[j / 4][j % 4] *= decay;
    // All of a group's loads before its products: with few warps nothing else hides them.
    constexpr int kGroup = std::min(Tile::kChunk / 16, 4);
#pragma unroll
    for (int first = 0; first < Tile::kChunk; first += kGroup * 16) {
      cuda::FragmentA<T> a[kGroup];
      cuda::FragmentB<T> b[kGroup][2][2];
      float2 weight[kGroup][2];
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const int k = first + i * 16;
        cuda::LoadTransposedA<kRowStride>(stage.rows + k * kRowStride + row_of_warp, a[i]);
        const T* const at = stage.columns + k * kColumnStride + column_of_warp;
        cuda::LoadB<kColumnStride>(at, b[i][0]);
        cuda::LoadB<kColumnStride>(at + 16, b[i][1]);
        weight[i][0] = cuda::LoadPair(weights + k + cuda::LaneColumn());
        weight[i][1] = cuda::LoadPair(weights + k + 8 + cuda::LaneColumn());
      }
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        cuda::ScaleColumns({weight[i][0].x, weight[i][0].y, weight[i][1].x, weight[i][1].y}, a[i]);
#pragma unroll
        for (int j = 0; j < 4; ++j) cuda::MultiplyAdd(a[i], b[i][j / 2][j % 2], state[j]);
      }
    }
    // Forward leaves what enters the next chunk, backward the gradient of what entered this one.
    T* const to = out + state_at + (kReverse ? chunk_of(i) : i + 1) * state_stride + column_of_warp;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = row_of_warp + cuda::LaneRow() + half * 8;
      if (at < p.head_dim) {
        cuda::StoreRow(state, half, to + at * p.state_size, valid_columns - column_of_warp,
                       p.vectors);
      }
    }
  }
}

template <typename T, typename Tile>
cuda::LaunchShape ShapeOf(const SsdCudaProblem<T>& p) {
  constexpr int kStages = sizeof(T) == 2 ? 3 : 2;
  const int64_t rows = p.chunks_per_row > 1 ? p.tokens / p.row_length : 0;
  return {.grid = {Tile::kExtents.num_state_blocks(), static_cast<unsigned>(p.heads),
                   static_cast<unsigned>(rows)},
          .block = Tile::kExtents.num_state_warps() * cuda::kWarpSize,
          .shared_bytes = kStages * sizeof(StatesStage<T, Tile>)};
}

}  // namespace

absl::Status SsdStatesCuda(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                           Stream& stream) {
  return VisitSsd(inputs, [&]<typename T, typename Tile>() {
    const SsdCudaProblem<T> p(inputs, workspace, {});
    return HETERO_CUDA_LAUNCH((StatesKernel<T, Tile, false>), (ShapeOf<T, Tile>(p)), stream, p, p.x,
                              p.b, nullptr, workspace.states.data<T>(), nullptr);
  });
}

absl::Status SsdStateGradientsCuda(const SsdInputs& inputs, const ConstTensorView& states,
                                   const ConstTensorView& d_y_TI, const SsdCudaWorkspace& workspace,
                                   Stream& stream) {
  return VisitSsd(inputs, [&]<typename T, typename Tile>() {
    const SsdCudaProblem<T> p(inputs, workspace, {d_y_TI});
    return HETERO_CUDA_LAUNCH((StatesKernel<T, Tile, true>), (ShapeOf<T, Tile>(p)), stream, p,
                              cuda::RowsOf<T>(d_y_TI), p.c, states.data<T>(),
                              workspace.state_gradients.data<T>(),
                              workspace.state_sums.data<float>());
  });
}

}  // namespace hetero::internal
