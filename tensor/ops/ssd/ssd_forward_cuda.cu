#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"
#include "hetero/tensor/ops/ssd/ssd_tiles.cuh"

// Letters: m the token that reads, k the token that is read, n an element of a state's row, p of
// its column.

namespace hetero::internal {
namespace {

template <typename T, typename Tile>
struct OutputShared {
  alignas(128) T c[Tile::kChunk * cuda::TileStride<T>(Tile::kStateSize)];
  SsdStage<T, Tile> stages[2];
  alignas(128) int32_t first[Tile::kChunk];
};

// y of one group of one chunk, a warp for 16 tokens:
//   y_m = decay(start, m) state C_m + sum_{k <= m} (C_m B_k) decay(k, m) dt_k x_k + skip x_m.
// C B^T stays in registers for all heads of the group, and, masked and scaled, is an operand there.
template <typename T, typename Tile>
__global__ __launch_bounds__(Tile::kChunk * 2,
                             sizeof(T) == 2 ? 2 : 1) void OutputKernel(SsdCudaProblem<T> p,
                                                                       const T* states,
                                                                       cuda::Rows<T> y) {
  using Shared = OutputShared<T, Tile>;
  using Stage = SsdStage<T, Tile>;
  constexpr int kThreads = Tile::kChunk * 2;
  constexpr int kBlocks = Tile::kChunk / 16;
  constexpr int kStateStride = cuda::TileStride<T>(Tile::kStateSize);
  constexpr int kHeadStride = cuda::TileStride<T>(Tile::kHeadDim);
  // B is only read before the first head uses the second stage.
  static_assert(sizeof(Shared::c) <= offsetof(Stage, steps));
  extern __shared__ __align__(128) unsigned char bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  T* const b_tile = shared.stages[1].rows;

  const int thread = cuda::ThreadIndex();
  const SsdChunk chunk(p, blockIdx.x);
  const int group = static_cast<int>(blockIdx.y);
  const int heads_per_group = p.heads / p.groups;
  const int first_head = group * heads_per_group;
  const int block_row = BlockRowOfWarp<kBlocks>(thread / cuda::kWarpSize);
  const int row = block_row * 16 + cuda::LaneRow();  // and the one eight further
  const int64_t head_column = int64_t{first_head} * p.head_dim;
  const T* const x_at = p.x[chunk.first_token] + head_column;
  const T* const states_at = states + p.StateOffset(chunk.row, chunk.in_row, first_head);
  const float* const steps_at = p.template Steps<Tile>(blockIdx.x, first_head);
  const auto fill = [&](int h) {
    if (h < heads_per_group) {
      Stage& stage = shared.stages[h % 2];
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kHeadDim>(thread, stage.rows,
                                                             x_at + h * p.head_dim, p.x.stride,
                                                             chunk.length, p.head_dim, p.vectors);
      if (!chunk.is_first) {
        cuda::FillTile<kThreads, Tile::kHeadDim, Tile::kStateSize>(
            thread, stage.state, states_at + h * p.elements_per_state, p.state_size, p.head_dim,
            p.state_size, p.vectors);
      }
      cuda::FillFloats<kThreads, kNumSsdSteps * Tile::kChunk>(
          thread, stage.steps, steps_at + h * (kNumSsdSteps * Tile::kChunk));
    }
    cuda::CommitCopies();
  };

  const int64_t group_column = int64_t{group} * p.state_size;
  cuda::FillTile<kThreads, Tile::kChunk, Tile::kStateSize>(
      thread, shared.c, p.c[chunk.first_token] + group_column, p.c.stride, chunk.length,
      p.state_size, p.vectors);
  cuda::FillTile<kThreads, Tile::kChunk, Tile::kStateSize>(
      thread, b_tile, p.b[chunk.first_token] + group_column, p.b.stride, chunk.length, p.state_size,
      p.vectors);
  cuda::CommitCopies();
  fill(0);
  if (thread < Tile::kChunk) {
    shared.first[thread] = p.first[int64_t{blockIdx.x} * Tile::kChunk + thread];
  }
  cuda::AwaitCopies<1>();
  __syncthreads();
  float cb[kBlocks][2][4] = {};
#pragma unroll 1
  for (int n = 0; n < Tile::kStateSize; n += 16) {
    cuda::FragmentA<T> a;
    cuda::LoadA<kStateStride>(shared.c + block_row * 16 * kStateStride + n, a);
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (j > block_row) continue;
      cuda::FragmentB<T> b[2];
      cuda::LoadTransposedB<kStateStride>(b_tile + j * 16 * kStateStride + n, b);
      cuda::MultiplyAdd(a, b[0], cb[j][0]);
      cuda::MultiplyAdd(a, b[1], cb[j][1]);
    }
  }
  const int first_read[2] = {shared.first[row], shared.first[row + 8]};
  const unsigned num_read[2] = {static_cast<unsigned>(row - first_read[0]),
                                static_cast<unsigned>(row + 8 - first_read[1])};

#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h) {
    cuda::AwaitCopies<0>();
    __syncthreads();
    fill(h + 1);
    const Stage& stage = shared.stages[h % 2];
    const float* const dt = stage.steps + kSsdDt * Tile::kChunk;
    const float* const sum = stage.steps + kSsdCumulative * Tile::kChunk;
    const float* const low = stage.steps + kSsdCumulativeLow * Tile::kChunk;
    float out[Tile::kHeadDim / 8][4] = {};
    if (!chunk.is_first) {
#pragma unroll 2
      for (int n = 0; n < Tile::kStateSize; n += 16) {
        cuda::FragmentA<T> a;
        cuda::LoadA<kStateStride>(shared.c + block_row * 16 * kStateStride + n, a);
#pragma unroll
        for (int j = 0; j < Tile::kHeadDim / 16; ++j) {
          cuda::FragmentB<T> b[2];
          cuda::LoadTransposedB<kStateStride>(stage.state + j * 16 * kStateStride + n, b);
          cuda::MultiplyAdd(a, b[0], out[2 * j]);
          cuda::MultiplyAdd(a, b[1], out[2 * j + 1]);
        }
      }
      const float* const from_start = stage.steps + kSsdFromStart * Tile::kChunk;
      const float decay[2] = {from_start[row], from_start[row + 8]};
#pragma unroll
      for (int j = 0; j < Tile::kHeadDim / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[j][i] *= decay[i / 2];
      }
    }
    const float sum_m[2] = {sum[row], sum[row + 8]};
    const float low_m[2] = {low[row], low[row + 8]};
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (j > block_row) continue;
      float weight[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int first_k = j * 16 + half * 8 + cuda::LaneColumn();
        const float2 sum_pair = cuda::LoadPair(sum + first_k);
        const float2 low_pair = cuda::LoadPair(low + first_k);
        const float2 dt_pair = cuda::LoadPair(dt + first_k);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int k = first_k + i % 2;
          const bool is_read = static_cast<unsigned>(k - first_read[i / 2]) <= num_read[i / 2];
          const float exponent =
              SsdExponent<T>(i % 2 == 0 ? sum_pair.x : sum_pair.y,
                             i % 2 == 0 ? low_pair.x : low_pair.y, sum_m[i / 2], low_m[i / 2]);
          weight[half][i] = cb[j][half][i] * (i % 2 == 0 ? dt_pair.x : dt_pair.y) *
                            SsdDecay<T>(is_read ? exponent : -INFINITY);
        }
      }
      cuda::FragmentA<T> a;
      cuda::ToFragment(weight, a);
#pragma unroll
      for (int i = 0; i < Tile::kHeadDim / 16; ++i) {
        cuda::FragmentB<T> b[2];
        cuda::LoadB<kHeadStride>(stage.rows + j * 16 * kHeadStride + i * 16, b);
        cuda::MultiplyAdd(a, b[0], out[2 * i]);
        cuda::MultiplyAdd(a, b[1], out[2 * i + 1]);
      }
    }
    const float skip = cuda::ToFloat(p.skip[first_head + h]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = row + half * 8;
      const T* const x = stage.rows + m * kHeadStride + cuda::LaneColumn();
#pragma unroll
      for (int j = 0; j < Tile::kHeadDim / 8; ++j) {
        const float2 pair = cuda::LoadPair(x + j * 8);
        out[j][half * 2] += skip * pair.x;
        out[j][half * 2 + 1] += skip * pair.y;
      }
      if (m < chunk.length) {
        cuda::StoreRow(out, half, y[chunk.first_token + m] + head_column + h * p.head_dim,
                       p.head_dim, p.vectors);
      }
    }
  }
}

}  // namespace

absl::Status SsdForwardCuda(const SsdInputs& inputs, const TensorView& y_TI,
                            const SsdCudaWorkspace& workspace, Stream& stream) {
  HETERO_RETURN_IF_ERROR(SsdStepsCuda(inputs, workspace, stream));
  HETERO_ASSIGN_OR_RETURN(const bool suits_hopper, SuitsHopperSsd(inputs, {y_TI}, stream));
  if (suits_hopper) {
    HETERO_RETURN_IF_ERROR(SsdStatesHopper(inputs, workspace, stream));
    return SsdOutputHopper(inputs, y_TI, workspace, stream);
  }
  HETERO_RETURN_IF_ERROR(SsdStatesCuda(inputs, workspace, stream));
  return VisitSsd(inputs, [&]<typename T, typename Tile>() {
    const SsdCudaProblem<T> p(inputs, workspace, {y_TI});
    const cuda::LaunchShape shape = {
        .grid = {static_cast<unsigned>(p.num_chunks()), static_cast<unsigned>(p.groups)},
        .block = Tile::kChunk * 2,
        .shared_bytes = sizeof(OutputShared<T, Tile>)};
    return HETERO_CUDA_LAUNCH((OutputKernel<T, Tile>), shape, stream, p, workspace.states.data<T>(),
                              cuda::RowsOf<T>(y_TI));
  });
}

}  // namespace hetero::internal
