#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/hopper_decay.cuh"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

// y of one group of heads of one chunk, a group of four warps for 64 tokens m:
//   y_m = decay(start, m) state C_m + sum_{k <= m} (C_m B_k) decay(k, m) dt_k x_k + skip x_m.
// C B^T stays in registers for all heads of the group, and, masked and scaled, is an operand there.

namespace hetero::internal {
namespace {

constexpr int kStages = 4;
constexpr int kBlock = 32;  // tokens k that are worked on at once

struct Maps {
  CUtensorMap x;      // a head's rows
  CUtensorMap b, c;   // a group's rows
  CUtensorMap state;  // entering states
};

struct HeadStage {  // also B, in place of x and state
  alignas(1024) __nv_bfloat16 x[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 state[StateRows::kSize];
  alignas(1024) float steps[kNumSsdSteps * kChunk];
};
static_assert(offsetof(HeadStage, state) == HeadRows::kBytes);

struct Shared {
  alignas(1024) __nv_bfloat16 c[GroupRows::kSize];
  HeadStage stages[kStages];
  alignas(128) unsigned char staging[kTokenThreads / cuda::kWarpSize][kStagedBytes];
  RingBarriers<kStages> ring;
};
static_assert(sizeof(Shared) <= 227 << 10);

// B and C, the heads.
__device__ void Load(const Maps& maps, const HopperProblem& p, const SsdChunk& chunk, int group,
                     Shared& shared) {
  const int row = static_cast<int>(chunk.row), token = chunk.in_row * kChunk;
  const int heads_per_group = p.heads / p.groups, panel = group * GroupRows::kCount;
  RingPlace<kStages> place;
  uint64_t* full = shared.ring.Expect(place, 2 * GroupRows::kBytes);
  LoadBox(shared.c, maps.c, token, panel, row, full);
  LoadBox(shared.stages[place.stage].x, maps.b, token, panel, row, full);
  place.Advance();
#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h, place.Advance()) {
    HeadStage& stage = shared.stages[place.stage];
    const int head = group * heads_per_group + h;
    full = shared.ring.Expect(
        place, HeadRows::kBytes + sizeof(stage.steps) + (chunk.is_first ? 0 : StateRows::kBytes));
    LoadBox(stage.x, maps.x, token, head, row, full);
    LoadBytes(stage.steps, p.Steps<HopperTile>(blockIdx.x, head), sizeof(stage.steps), full);
    if (chunk.is_first) continue;
    const int64_t state = p.StateOffset(chunk.row, chunk.in_row, head) / kStateSize;
    LoadBox(stage.state, maps.state, static_cast<int>(state), 0, full);
  }
}

// C B^T of the group's 64 tokens m and as many first tokens k.
template <int kTokens>
__device__ void TakeProjections(const __nv_bfloat16* c, const __nv_bfloat16* b,
                                float (&cb)[kTokens / 2]) {
  const uint64_t rows = GroupRows::Descriptor(c + (kTokens - 64) * GroupRows::kWidth);
  const uint64_t columns = GroupRows::Descriptor(b);
  cute::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < kStateSize / 16; ++i) {
    Multiply<kTokens, Major::K, Major::K>(rows + GroupRows::Columns(i),
                                          columns + GroupRows::Columns(i), i > 0, cb);
  }
  cute::warpgroup_commit_batch();
  cute::warpgroup_wait<0>();
  Pin(cb);
}

// Of a block of C B^T: masked, decayed and scaled as an operand.
template <int kCount>
__device__ void Mix(const HeadStage& stage, const GroupPlace& place, int block,
                    const float (&cb)[kCount], const int (&first)[2],
                    uint32_t (&mixing)[kBlock / 16][4]) {
  const float* const dt = stage.steps + kSsdDt * kChunk;
  const float* const sum = stage.steps + kSsdCumulative * kChunk;
  const float sum_m[2] = {sum[place.row], sum[place.row + 8]};
#pragma unroll
  for (int i = 0; i < kBlock / 8; ++i) {
    const int tokens16 = block * (kBlock / 16) + i / 2;
    uint32_t(&pairs)[4] = mixing[i / 2];
    if (tokens16 > place.warp) {  // all k behind all m
      pairs[i % 2 * 2] = pairs[i % 2 * 2 + 1] = 0;
      continue;
    }
    const int first_k = block * kBlock + i * 8 + place.column;
    const float2 sum_k = cuda::LoadPair(sum + first_k);
    const float2 dt_k = cuda::LoadPair(dt + first_k);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int m = place.row + r * 8;
      const float* const from = cb + (block * (kBlock / 8) + i) * 4 + 2 * r;
      const float near = from[0] * dt_k.x * DecayBetween(first_k, sum_k.x, m, sum_m[r], first[r]);
      const float far =
          from[1] * dt_k.y * DecayBetween(first_k + 1, sum_k.y, m, sum_m[r], first[r]);
      pairs[i % 2 * 2 + r] = Pack(near, far);
    }
  }
}

template <int kIndex>
__device__ void TakeChunk(const HopperProblem& p, const SsdChunk& chunk,
                          const cuda::Rows<__nv_bfloat16>& y, Shared& shared) {
  constexpr int kTokens = (kIndex + 1) * 64;  // k up to the group's last m
  const GroupPlace place;
  const int heads_per_group = p.heads / p.groups;
  const int first_head = static_cast<int>(blockIdx.y) * heads_per_group;
  const int32_t* const firsts = p.first + int64_t{blockIdx.x} * kChunk + place.row;
  const int first[2] = {firsts[0], firsts[8]};
  RingPlace<kStages> ring;
  float cb[kTokens / 2];
  shared.ring.Await(ring);
  TakeProjections<kTokens>(shared.c, shared.stages[ring.stage].x, cb);
  shared.ring.Release(ring);
  const uint64_t c = GroupRows::Descriptor(shared.c + kIndex * 64 * GroupRows::kWidth);
#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h) {
    shared.ring.Await(ring);
    const HeadStage& stage = shared.stages[ring.stage];
    float out[kHeadDim / 2] = {};
    if (!chunk.is_first) {
      const uint64_t state = StateRows::Descriptor(stage.state);
      cute::warpgroup_arrive();
#pragma unroll
      for (int i = 0; i < kStateSize / 16; ++i) {
        Multiply<kHeadDim, Major::K, Major::K>(c + GroupRows::Columns(i),
                                               state + StateRows::Columns(i), i > 0, out);
      }
      cute::warpgroup_commit_batch();
    }
    uint32_t mixing[kTokens / kBlock][kBlock / 16][4];
#pragma unroll
    for (int block = 0; block < kTokens / kBlock; ++block) {
      Mix(stage, place, block, cb, first, mixing[block]);
    }
    cute::warpgroup_wait<0>();
    Pin(out);
    const float* const from_start = stage.steps + kSsdFromStart * kChunk + place.row;
    const float decay[2] = {from_start[0], from_start[8]};
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) out[i] *= decay[i / 2 % 2];
    const uint64_t x = HeadRows::Descriptor(stage.x);
    Pin(out);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kTokens / 16; ++i) {
      Multiply<kHeadDim, Major::MN>(mixing[i / (kBlock / 16)][i % (kBlock / 16)],
                                    x + HeadRows::Rows(i), true, out);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(out);
    const float skip = cuda::ToFloat(p.skip[first_head + h]);
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 of_x = PairOf(stage.x, place.row + r * 8, i);
        out[4 * i + 2 * r] += skip * of_x.x;
        out[4 * i + 2 * r + 1] += skip * of_x.y;
      }
    }
    shared.ring.Release(ring);
    const int first_row = place.warp * kRowsOfWarp;
    StoreRows(out, 1.0f, shared.staging[place.warp],
              y[chunk.first_token + first_row] + (first_head + h) * kHeadDim, y.stride,
              chunk.length - first_row);
  }
}

__global__ __launch_bounds__(kBlockThreads, 1) void OutputKernel(
    const __grid_constant__ Maps maps, const __grid_constant__ HopperProblem p,
    const __grid_constant__ cuda::Rows<__nv_bfloat16> y) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) shared.ring.Init(kTokenThreads);
  __syncthreads();
  const SsdChunk chunk(p, blockIdx.x);
  if (threadIdx.x >= kTokenThreads) {
    TakeLoadersRegisters();
    if (threadIdx.x == kTokenThreads) {
      Load(maps, p, chunk, static_cast<int>(blockIdx.y), shared);
    }
    return;
  }
  TakeMathRegisters();
  if (threadIdx.x < kGroupThreads) {
    TakeChunk<0>(p, chunk, y, shared);
  } else {
    TakeChunk<1>(p, chunk, y, shared);
  }
}

}  // namespace

absl::Status SsdOutputHopper(const SsdInputs& inputs, const TensorView& y_TI,
                             const SsdCudaWorkspace& workspace, Stream& stream) {
  const HopperProblem p(inputs, workspace, {});
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maker, stream.State<TensorMaps>());
  Maps maps;
  const SequenceBatch& sequences = inputs.sequences;
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.x_TI, sequences, 1, maps.x));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.b_TS, sequences, GroupRows::kCount, maps.b));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.c_TS, sequences, GroupRows::kCount, maps.c));
  if (p.chunks_per_row > 1) {
    HETERO_RETURN_IF_ERROR(
        MakeMatrixMap(*maker, workspace.states, kHeadDim, StateRows::kCount, maps.state));
  }
  const cuda::LaunchShape shape = {
      .grid = {static_cast<unsigned>(p.num_chunks()), static_cast<unsigned>(p.groups)},
      .block = kBlockThreads,
      .shared_bytes = sizeof(Shared)};
  return HETERO_CUDA_LAUNCH(OutputKernel, shape, stream, maps, p,
                            cuda::RowsOf<__nv_bfloat16>(y_TI));
}

}  // namespace hetero::internal
