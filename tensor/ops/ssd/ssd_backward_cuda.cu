#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"
#include "hetero/tensor/ops/ssd/ssd_tiles.cuh"

// Letters: m the token that reads, k the token that is read, n an element of a state's row, p of
// its column. Inside a chunk, with e_mk the decay from k to m and F_mk = (d_y_m x_k) (C_m B_k) e_mk
// what d_y collects along the path k -> m, the paths that decay over token t begin before it and
// end at or after it. Those of the chunk alone give
//   sum_{k < t <= m} dt_k F_mk = sum_{j < t} (sum_{m > j} dt_j F_mj - sum_{k < j} dt_k F_jk):
// a flow that grows by what leaves token j for later ones and shrinks by what ends in j. Tokens'
// own paths, far larger where the decay is strong, are in neither sum.

namespace hetero::internal {
namespace {

template <typename T, typename Tile>
struct InputStage {  // of one head
  alignas(128) T x[Tile::kChunk * cuda::TileStride<T>(Tile::kHeadDim)];
  alignas(128) T d_y[Tile::kChunk * cuda::TileStride<T>(Tile::kHeadDim)];
  alignas(128) T d_state[Tile::kHeadDim * cuda::TileStride<T>(Tile::kStateSize)];
  alignas(128) float steps[kNumSsdSteps * Tile::kChunk];
};

template <typename T, typename Tile>
struct InputShared {
  static constexpr int kStages = sizeof(T) == 2 ? 2 : 1;

  alignas(128) T b[Tile::kChunk * cuda::TileStride<T>(Tile::kStateSize)];
  InputStage<T, Tile> stages[kStages];
  alignas(128) int32_t first[Tile::kChunk];
  // Of this head and of the last one, which is still to be stored.
  float row_sums[2][3][Tile::kChunk];  // direct, outgoing flow, skip
  float column_sums[2][Tile::kChunk / 16][Tile::kChunk];
};

// Of one group of one chunk, a warp for 16 tokens k, with V_k the gradient of dt_k x_k:
//   V_k = sum_{m >= k} (C_m B_k) e_mk d_y_m + decay(k, end) d_state B_k,  d_x_k = dt_k V_k + skip
//   d_y_k, d_cb_km = sum over heads of (d_y_m x_k) e_mk dt_k,
// and kSsdDirect, kSsdFlow and kSsdSkip. B C^T and d_cb stay in registers for all heads.
template <typename T, typename Tile>
__global__ __launch_bounds__(Tile::kChunk * 2) void InputGradientKernel(SsdCudaProblem<T> p,
                                                                        cuda::Rows<const T> d_y,
                                                                        const T* d_states,
                                                                        cuda::Rows<T> d_x, T* d_cb,
                                                                        float* token_sums) {
  using Shared = InputShared<T, Tile>;
  using Stage = InputStage<T, Tile>;
  constexpr int kThreads = Tile::kChunk * 2;
  constexpr int kBlocks = Tile::kChunk / 16;
  constexpr int kStages = Shared::kStages;
  constexpr int kDepth = Tile::kHeadDim / 16;
  constexpr int kStateStride = cuda::TileStride<T>(Tile::kStateSize);
  constexpr int kHeadStride = cuda::TileStride<T>(Tile::kHeadDim);
  // C is only read before a head uses the last stage.
  static_assert(sizeof(Shared::b) <= offsetof(Stage, d_state));
  extern __shared__ __align__(128) unsigned char bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  T* const c_tile = shared.stages[kStages - 1].x;

  const int thread = cuda::ThreadIndex();
  const SsdChunk chunk(p, blockIdx.x);
  const int group = static_cast<int>(blockIdx.y);
  const int heads_per_group = p.heads / p.groups;
  const int first_head = group * heads_per_group;
  const int block_row = BlockRowOfWarp<kBlocks>(thread / cuda::kWarpSize);
  const int row = block_row * 16 + cuda::LaneRow();  // and the one eight further
  const int64_t head_column = int64_t{first_head} * p.head_dim;
  const T* const x_at = p.x[chunk.first_token] + head_column;
  const T* const d_y_at = d_y[chunk.first_token] + head_column;
  const T* const d_states_at = d_states + p.StateOffset(chunk.row, chunk.in_row + 1, first_head);
  const float* const steps_at = p.template Steps<Tile>(blockIdx.x, first_head);
  const auto fill = [&](int h) {
    if (h < heads_per_group) {
      Stage& stage = shared.stages[h % kStages];
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kHeadDim>(
          thread, stage.x, x_at + h * p.head_dim, p.x.stride, chunk.length, p.head_dim, p.vectors);
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kHeadDim>(thread, stage.d_y,
                                                             d_y_at + h * p.head_dim, d_y.stride,
                                                             chunk.length, p.head_dim, p.vectors);
      if (!chunk.is_last) {
        cuda::FillTile<kThreads, Tile::kHeadDim, Tile::kStateSize>(
            thread, stage.d_state, d_states_at + h * p.elements_per_state, p.state_size, p.head_dim,
            p.state_size, p.vectors);
      }
      cuda::FillFloats<kThreads, kNumSsdSteps * Tile::kChunk>(
          thread, stage.steps, steps_at + h * (kNumSsdSteps * Tile::kChunk));
    }
    cuda::CommitCopies();
  };

  const auto store_sums = [&](int h) {
    const int t = thread;
    if (t >= Tile::kChunk) return;
    float* const to =
        token_sums +
        (int64_t{blockIdx.x} * p.heads + first_head + h) * (kNumSsdTokenSums * Tile::kChunk) + t;
    float ending = 0;
#pragma unroll
    for (int r = 0; r < kBlocks; ++r) {
      if (r <= t / 16) ending += shared.column_sums[h % 2][r][t];
    }
    const auto& sums = shared.row_sums[h % 2];
    to[kSsdDirect * Tile::kChunk] = sums[0][t];
    to[kSsdFlow * Tile::kChunk] = sums[1][t] - ending;
    to[kSsdSkip * Tile::kChunk] = sums[2][t];
  };

  const int64_t group_column = int64_t{group} * p.state_size;
  cuda::FillTile<kThreads, Tile::kChunk, Tile::kStateSize>(
      thread, shared.b, p.b[chunk.first_token] + group_column, p.b.stride, chunk.length,
      p.state_size, p.vectors);
  cuda::FillTile<kThreads, Tile::kChunk, Tile::kStateSize>(
      thread, c_tile, p.c[chunk.first_token] + group_column, p.c.stride, chunk.length, p.state_size,
      p.vectors);
  cuda::CommitCopies();
  if constexpr (kStages == 2) fill(0);
  if (thread < Tile::kChunk) {
    shared.first[thread] = p.first[int64_t{blockIdx.x} * Tile::kChunk + thread];
  }
  cuda::AwaitCopies<kStages - 1>();
  __syncthreads();
  float bc[kBlocks][2][4] = {};
  float d_bc[kBlocks][2][4] = {};
#pragma unroll 1
  for (int n = 0; n < Tile::kStateSize; n += 16) {
    cuda::FragmentA<T> a;
    cuda::LoadA<kStateStride>(shared.b + block_row * 16 * kStateStride + n, a);
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (j < block_row) continue;
      cuda::FragmentB<T> b[2];
      cuda::LoadTransposedB<kStateStride>(c_tile + j * 16 * kStateStride + n, b);
      cuda::MultiplyAdd(a, b[0], bc[j][0]);
      cuda::MultiplyAdd(a, b[1], bc[j][1]);
    }
  }

#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h) {
    if constexpr (kStages == 1) {
      __syncthreads();
      fill(h);
    }
    cuda::AwaitCopies<0>();
    __syncthreads();
    if constexpr (kStages == 2) fill(h + 1);
    if (h > 0) store_sums(h - 1);
    const Stage& stage = shared.stages[h % kStages];
    const int head = first_head + h;
    const float* const sum = stage.steps + kSsdCumulative * Tile::kChunk;
    const float* const low = stage.steps + kSsdCumulativeLow * Tile::kChunk;
    const float* const steps_k = stage.steps + row;
    const float dt[2] = {steps_k[kSsdDt * Tile::kChunk], steps_k[kSsdDt * Tile::kChunk + 8]};
    const float sum_k[2] = {sum[row], sum[row + 8]};
    const float low_k[2] = {low[row], low[row + 8]};
    float v[Tile::kHeadDim / 8][4] = {};
    float leaving[2] = {};  // x V over the path to the chunk's end
    if (!chunk.is_last) {
#pragma unroll
      for (int n = 0; n < Tile::kStateSize; n += 16) {
        cuda::FragmentA<T> a;
        cuda::LoadA<kStateStride>(shared.b + block_row * 16 * kStateStride + n, a);
#pragma unroll
        for (int j = 0; j < Tile::kHeadDim / 16; ++j) {
          cuda::FragmentB<T> b[2];
          cuda::LoadTransposedB<kStateStride>(stage.d_state + j * 16 * kStateStride + n, b);
          cuda::MultiplyAdd(a, b[0], v[2 * j]);
          cuda::MultiplyAdd(a, b[1], v[2 * j + 1]);
        }
      }
      const float to_end[2] = {steps_k[kSsdToEnd * Tile::kChunk],
                               steps_k[kSsdToEnd * Tile::kChunk + 8]};
#pragma unroll
      for (int j = 0; j < Tile::kHeadDim / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[j][2 * i] *= to_end[i];
          v[j][2 * i + 1] *= to_end[i];
          const float2 x =
              cuda::LoadPair(stage.x + (row + i * 8) * kHeadStride + j * 8 + cuda::LaneColumn());
          leaving[i] += x.x * v[j][2 * i] + x.y * v[j][2 * i + 1];
        }
      }
    }
    float own[2] = {}, later[2] = {}, skip_sum[2] = {};  // F_kk, sum_{m > k} F_mk, d_y_k x_k
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      if (j < block_row) continue;
      float dot[2][4] = {};
      {
        cuda::FragmentA<T> a[kDepth];
        cuda::FragmentB<T> b[kDepth][2];
#pragma unroll
        for (int i = 0; i < kDepth; ++i) {
          cuda::LoadA<kHeadStride>(stage.x + block_row * 16 * kHeadStride + i * 16, a[i]);
          cuda::LoadTransposedB<kHeadStride>(stage.d_y + j * 16 * kHeadStride + i * 16, b[i]);
        }
#pragma unroll
        for (int i = 0; i < kDepth; ++i) {
          cuda::MultiplyAdd(a[i], b[i][0], dot[0]);
          cuda::MultiplyAdd(a[i], b[i][1], dot[1]);
        }
      }
      float mixing[2][4], f[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int first_m = j * 16 + half * 8 + cuda::LaneColumn();
        const float2 sum_pair = cuda::LoadPair(sum + first_m);
        const float2 low_pair = cuda::LoadPair(low + first_m);
        const int2 first = *reinterpret_cast<const int2*>(shared.first + first_m);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int k = row + i / 2 * 8;
          const int first_read = i % 2 == 0 ? first.x : first.y;
          const bool is_read = static_cast<unsigned>(k - first_read) <=
                               static_cast<unsigned>(first_m + i % 2 - first_read);
          const float exponent =
              SsdExponent<T>(sum_k[i / 2], low_k[i / 2], i % 2 == 0 ? sum_pair.x : sum_pair.y,
                             i % 2 == 0 ? low_pair.x : low_pair.y);
          const float decay = SsdDecay<T>(is_read ? exponent : -INFINITY);
          mixing[half][i] = bc[j][half][i] * decay;
          d_bc[j][half][i] += dot[half][i] * decay * dt[i / 2];
          f[half][i] = dot[half][i] * mixing[half][i];
        }
      }
      if (j == block_row) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const bool is_own =
              row + i / 2 % 2 * 8 == j * 16 + i / 4 * 8 + cuda::LaneColumn() + i % 2;
          own[i / 2 % 2] += is_own ? f[i / 4][i % 4] : 0.0f;
          skip_sum[i / 2 % 2] += is_own ? dot[i / 4][i % 4] : 0.0f;
          f[i / 4][i % 4] = is_own ? 0.0f : f[i / 4][i % 4];
        }
      }
      float ending[2][2] = {};  // sum_k dt_k F_mk
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        later[i / 2 % 2] += f[i / 4][i % 4];
        ending[i / 4][i % 2] += dt[i / 2 % 2] * f[i / 4][i % 4];
      }
      cuda::FragmentA<T> a;
      cuda::FragmentB<T> b[kDepth][2];
      cuda::ToFragment(mixing, a);
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        cuda::LoadB<kHeadStride>(stage.d_y + j * 16 * kHeadStride + i * 16, b[i]);
      }
#pragma unroll
      for (int i = 0; i < 2 * kDepth; ++i) cuda::MultiplyAdd(a, b[i / 2][i % 2], v[i]);
      const float column_sum = ColumnSum(ending);
      if (!(cuda::Lane() & 4)) {
        shared.column_sums[h % 2][block_row][j * 16 + cuda::Lane() / 16 * 8 + cuda::LaneColumn() +
                                             cuda::Lane() / 8 % 2] = column_sum;
      }
    }
    const float skip = cuda::ToFloat(p.skip[head]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int k = row + i * 8;
      const float path_sum = cuda::RowOfSumsSum(later[i] + leaving[i]);
      const float own_sum = cuda::RowOfSumsSum(own[i]);
      const float skip_of_row = cuda::RowOfSumsSum(skip_sum[i]);
      if (cuda::LaneColumn() == 0) {
        shared.row_sums[h % 2][0][k] = path_sum + own_sum;
        shared.row_sums[h % 2][1][k] = dt[i] * path_sum;
        shared.row_sums[h % 2][2][k] = skip_of_row;
      }
      const T* const d_y_k = stage.d_y + k * kHeadStride + cuda::LaneColumn();
#pragma unroll
      for (int j = 0; j < Tile::kHeadDim / 8; ++j) {
        const float2 pair = cuda::LoadPair(d_y_k + j * 8);
        v[j][2 * i] = dt[i] * v[j][2 * i] + skip * pair.x;
        v[j][2 * i + 1] = dt[i] * v[j][2 * i + 1] + skip * pair.y;
      }
      if (k < chunk.length) {
        cuda::StoreRow(v, i, d_x[chunk.first_token + k] + head_column + h * p.head_dim, p.head_dim,
                       p.vectors);
      }
    }
  }
  __syncthreads();
  store_sums(heads_per_group - 1);
  T* const to = d_cb + (int64_t{blockIdx.x} * p.groups + group) * (Tile::kChunk * Tile::kChunk);
#pragma unroll
  for (int j = 0; j < kBlocks; ++j) {
    if (j < block_row) continue;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      cuda::StorePair(
          {d_bc[j][i / 2][i % 2 * 2], d_bc[j][i / 2][i % 2 * 2 + 1]},
          to + (row + i % 2 * 8) * Tile::kChunk + j * 16 + i / 2 * 8 + cuda::LaneColumn());
    }
  }
}

template <typename T, typename Tile>
struct ProjectionShared {
  alignas(128) T c[Tile::kChunk * cuda::TileStride<T>(Tile::kStateSize)];
  SsdStage<T, Tile> stages[2];
};

// Of one group of one chunk, a warp for 16 tokens and half of a state's row. Without kOfC:
//   d_b_k = sum over heads of dt_k decay(k, end) x_k d_state + sum_{m >= k} d_cb_km C_m,
// with it, and kSsdEntering:
//   d_c_m = sum over heads of decay(start, m) d_y_m state + sum_{k <= m} d_cb_km B_k.
template <typename T, typename Tile, bool kOfC>
__global__ __launch_bounds__(Tile::kChunk * 4,
                             1) void ProjectionKernel(SsdCudaProblem<T> p, cuda::Rows<const T> rows,
                                                      const T* row_states, const T* d_cb,
                                                      cuda::Rows<T> to, float* token_sums) {
  using Shared = ProjectionShared<T, Tile>;
  using Stage = SsdStage<T, Tile>;
  constexpr int kThreads = Tile::kChunk * 4;
  constexpr int kBlocks = Tile::kChunk / 16;
  constexpr int kColumns = Tile::kStateSize / 2;
  constexpr int kStateStride = cuda::TileStride<T>(Tile::kStateSize);
  constexpr int kHeadStride = cuda::TileStride<T>(Tile::kHeadDim);
  constexpr int kChunkStride = cuda::TileStride<T>(Tile::kChunk);
  // After the heads, their stages hold d_cb and, for d_c, B.
  static_assert(sizeof(Shared::c) <= offsetof(Stage, steps));
  static_assert(Tile::kChunk * kChunkStride * sizeof(T) <= offsetof(Stage, steps));
  extern __shared__ __align__(128) unsigned char bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);

  const int thread = cuda::ThreadIndex();
  const SsdChunk chunk(p, blockIdx.x);
  const int group = static_cast<int>(blockIdx.y);
  const int heads_per_group = p.heads / p.groups;
  const int first_head = group * heads_per_group;
  const int64_t group_column = int64_t{group} * p.state_size;
  const int block_row = BlockRowOfWarp<kBlocks>(thread / cuda::kWarpSize % kBlocks);
  const int row = block_row * 16 + cuda::LaneRow();  // and the one eight further
  const int half = thread / cuda::kWarpSize / kBlocks;
  const int column = half * kColumns;
  const int active_heads = (kOfC ? chunk.is_first : chunk.is_last) ? 0 : heads_per_group;
  const T* const rows_at = rows[chunk.first_token] + int64_t{first_head} * p.head_dim;
  const T* const states_at =
      row_states + p.StateOffset(chunk.row, chunk.in_row + (kOfC ? 0 : 1), first_head);
  const float* const steps_at = p.template Steps<Tile>(blockIdx.x, first_head);
  const auto fill = [&](int h) {
    if (h < active_heads) {
      Stage& stage = shared.stages[h % 2];
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kHeadDim>(thread, stage.rows,
                                                             rows_at + h * p.head_dim, rows.stride,
                                                             chunk.length, p.head_dim, p.vectors);
      cuda::FillTile<kThreads, Tile::kHeadDim, Tile::kStateSize>(
          thread, stage.state, states_at + h * p.elements_per_state, p.state_size, p.head_dim,
          p.state_size, p.vectors);
      cuda::FillFloats<kThreads, kNumSsdSteps * Tile::kChunk>(
          thread, stage.steps, steps_at + h * (kNumSsdSteps * Tile::kChunk));
    } else if (h == active_heads) {
      cuda::FillTile<kThreads, Tile::kChunk, Tile::kChunk>(
          thread, shared.stages[h % 2].rows,
          d_cb + (int64_t{blockIdx.x} * p.groups + group) * (Tile::kChunk * Tile::kChunk),
          Tile::kChunk, Tile::kChunk, Tile::kChunk, true);
    }
    cuda::CommitCopies();
  };
  const auto fill_group = [&](T* tile, const cuda::Rows<const T>& from) {
    cuda::FillTile<kThreads, Tile::kChunk, Tile::kStateSize>(
        thread, tile, from[chunk.first_token] + group_column, from.stride, chunk.length,
        p.state_size, p.vectors);
  };

  fill_group(shared.c, p.c);
  fill(0);
  float out[kColumns / 8][4] = {};
#pragma unroll 1
  for (int h = 0; h < active_heads; ++h) {
    cuda::AwaitCopies<0>();
    __syncthreads();
    fill(h + 1);
    const Stage& stage = shared.stages[h % 2];
    const float* const steps = stage.steps + row;
    float weight[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      weight[i] = steps[(kOfC ? kSsdFromStart : kSsdIntoState) * Tile::kChunk + i * 8];
    }
    cuda::FragmentA<T> a[Tile::kHeadDim / 16];
#pragma unroll
    for (int i = 0; i < Tile::kHeadDim / 16; ++i) {
      cuda::LoadA<kHeadStride>(stage.rows + block_row * 16 * kHeadStride + i * 16, a[i]);
    }
    float entering[2] = {};
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      float product[2][4] = {};
#pragma unroll
      for (int i = 0; i < Tile::kHeadDim / 16; ++i) {
        cuda::FragmentB<T> b[2];
        cuda::LoadB<kStateStride>(stage.state + i * 16 * kStateStride + column + j * 16, b);
        cuda::MultiplyAdd(a[i], b[0], product[0]);
        cuda::MultiplyAdd(a[i], b[1], product[1]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const of = product[i / 2] + i % 2 * 2;
        if constexpr (kOfC) {
          const float2 c = cuda::LoadPair(shared.c + (row + i % 2 * 8) * kStateStride + column +
                                          j * 16 + i / 2 * 8 + cuda::LaneColumn());
          entering[i % 2] += c.x * of[0] + c.y * of[1];
        }
        out[2 * j + i / 2][i % 2 * 2] += weight[i % 2] * of[0];
        out[2 * j + i / 2][i % 2 * 2 + 1] += weight[i % 2] * of[1];
      }
    }
    if constexpr (kOfC) {
      float* const sums =
          token_sums +
          (int64_t{blockIdx.x} * p.heads + first_head + h) * (kNumSsdTokenSums * Tile::kChunk) +
          (kSsdEntering + half) * Tile::kChunk + row;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float sum = cuda::RowOfSumsSum(entering[i]);
        if (cuda::LaneColumn() == 0) sums[i * 8] = weight[i] * sum;
      }
    }
  }

  const T* const d_cb_tile = shared.stages[active_heads % 2].rows;
  const T* other = shared.c;
  if constexpr (kOfC) {
    T* const b_tile = shared.stages[(active_heads + 1) % 2].rows;
    other = b_tile;
    __syncthreads();
    fill_group(b_tile, p.b);
    cuda::CommitCopies();
  }
  cuda::AwaitCopies<0>();
  __syncthreads();
  const int end = kOfC ? block_row + 1 : kBlocks;
#pragma unroll 1
  for (int i = kOfC ? 0 : block_row; i < end; ++i) {
    cuda::FragmentA<T> a;
    if constexpr (kOfC) {
      cuda::LoadTransposedA<kChunkStride>(d_cb_tile + i * 16 * kChunkStride + block_row * 16, a);
    } else {
      cuda::LoadA<kChunkStride>(d_cb_tile + block_row * 16 * kChunkStride + i * 16, a);
    }
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      cuda::FragmentB<T> b[2];
      cuda::LoadB<kStateStride>(other + i * 16 * kStateStride + column + j * 16, b);
      cuda::MultiplyAdd(a, b[0], out[2 * j]);
      cuda::MultiplyAdd(a, b[1], out[2 * j + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (row + i * 8 >= chunk.length) continue;
    cuda::StoreRow(out, i, to[chunk.first_token + row + i * 8] + group_column + column,
                   p.state_size - column, p.vectors);
  }
}

}  // namespace

absl::Status SsdBackwardCuda(const SsdInputs& inputs, const ConstTensorView& states,
                             const ConstTensorView& d_y_TI, const SsdGradients& gradients,
                             const SsdCudaWorkspace& workspace, Stream& stream) {
  HETERO_RETURN_IF_ERROR(SsdStepsCuda(inputs, workspace, stream));
  HETERO_ASSIGN_OR_RETURN(
      const bool suits_hopper,
      SuitsHopperSsd(inputs, {d_y_TI, gradients.d_x_TI, gradients.d_b_TS, gradients.d_c_TS},
                     stream));
  if (suits_hopper) {
    HETERO_RETURN_IF_ERROR(SsdStateGradientsHopper(inputs, states, d_y_TI, workspace, stream));
    HETERO_RETURN_IF_ERROR(SsdInputGradientsHopper(inputs, d_y_TI, gradients, workspace, stream));
    HETERO_RETURN_IF_ERROR(
        SsdReadingGradientsHopper(inputs, states, d_y_TI, gradients, workspace, stream));
    return SsdStepGradientsCuda(inputs, gradients, workspace, stream);
  }
  HETERO_RETURN_IF_ERROR(SsdStateGradientsCuda(inputs, states, d_y_TI, workspace, stream));
  HETERO_RETURN_IF_ERROR(VisitSsd(inputs, [&]<typename T, typename Tile>() -> absl::Status {
    const SsdCudaProblem<T> p(inputs, workspace,
                              {d_y_TI, gradients.d_x_TI, gradients.d_b_TS, gradients.d_c_TS});
    const unsigned chunks = static_cast<unsigned>(p.num_chunks());
    const unsigned groups = static_cast<unsigned>(p.groups);
    HETERO_RETURN_IF_ERROR(
        HETERO_CUDA_LAUNCH((InputGradientKernel<T, Tile>),
                           (cuda::LaunchShape{.grid = {chunks, groups},
                                              .block = Tile::kChunk * 2,
                                              .shared_bytes = sizeof(InputShared<T, Tile>)}),
                           stream, p, cuda::RowsOf<T>(d_y_TI), workspace.state_gradients.data<T>(),
                           cuda::RowsOf<T>(gradients.d_x_TI), workspace.d_cb.data<T>(),
                           workspace.token_sums.data<float>()));
    const cuda::LaunchShape shape = {.grid = {chunks, groups},
                                     .block = Tile::kChunk * 4,
                                     .shared_bytes = sizeof(ProjectionShared<T, Tile>)};
    HETERO_RETURN_IF_ERROR(
        HETERO_CUDA_LAUNCH((ProjectionKernel<T, Tile, false>), shape, stream, p, p.x,
                           workspace.state_gradients.data<T>(), workspace.d_cb.data<T>(),
                           cuda::RowsOf<T>(gradients.d_b_TS), workspace.token_sums.data<float>()));
    return HETERO_CUDA_LAUNCH((ProjectionKernel<T, Tile, true>), shape, stream, p,
                              cuda::RowsOf<T>(d_y_TI), states.data<T>(), workspace.d_cb.data<T>(),
                              cuda::RowsOf<T>(gradients.d_c_TS),
                              workspace.token_sums.data<float>());
  }));
  return SsdStepGradientsCuda(inputs, gradients, workspace, stream);
}

}  // namespace hetero::internal
