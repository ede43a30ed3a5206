#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/hopper_decay.cuh"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

// y of one group of heads of one chunk, a group of four warps for 64 tokens m:
//   y_m = decay(start, m) state C_m + sum_{k <= m} (C_m B_k) decay(k, m) dt_k x_k + skip x_m.
// Two teams of such groups take heads in turns: one's products run under the other's arithmetic.
// C B^T stays in shared memory for all heads, as each thread needs it, and, masked and scaled, is
// an operand in registers.

namespace hetero::internal {
namespace {

constexpr int kStages = 3;
constexpr int kTeams = 2;
constexpr int kMathThreads = kTeams * kTokenThreads;
constexpr int kThreads = kMathThreads + kGroupThreads;

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
  // Of the groups' blocks one after the other, those behind the group's own tokens left out.
  float4 cb[(kTokenGroups + 1) * kTokenGroups / 2 * (64 / 8)][kGroupThreads];
  alignas(128) unsigned char staging[kMathThreads / cuda::kWarpSize][kStagedBytes];
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

// A group's products; its tokens m are 64 from 64 kIndex on, and the last of its tokens k.
template <int kIndex>
struct TokenGroup {
  static constexpr int kTokens = (kIndex + 1) * 64;
  static constexpr int kBefore = kIndex * 64 / 8;  // of other groups, in shared memory

  __device__ float4& CbOf(int i) { return shared.cb[kBefore + i][threadIdx.x % kGroupThreads]; }

  __device__ void TakeProjections(const __nv_bfloat16* b) {
    float cb[kTokens / 2];
    const uint64_t rows = GroupRows::Descriptor(shared.c + kIndex * 64 * GroupRows::kWidth);
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
#pragma unroll
    for (int i = 0; i < kTokens / 8; ++i) {
      CbOf(i) = {cb[4 * i], cb[4 * i + 1], cb[4 * i + 2], cb[4 * i + 3]};
    }
  }

  // Of eight tokens k: (C_m B_k) decay(k, m) dt_k of the thread's rows.
  template <bool kMasked>
  __device__ void Mix8(const HeadStage& stage, int i, uint32_t* pairs) {
    const int k = i * 8 + place.column;
    const float2 sum_k = cuda::LoadPair(stage.steps + kSsdCumulative * kChunk + k);
    const float2 dt_k = cuda::LoadPair(stage.steps + kSsdDt * kChunk + k);
    const float4 cb = CbOf(i);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float sum_m = stage.steps[kSsdCumulative * kChunk + place.row + r * 8];
      float near = PowerOfTwo(sum_m - sum_k.x), far = PowerOfTwo(sum_m - sum_k.y);
      if constexpr (kMasked) {
        const int m = place.row + r * 8;
        near = DecayBetween(k, sum_k.x, m, sum_m, first[r]);
        far = DecayBetween(k + 1, sum_k.y, m, sum_m, first[r]);
      }
      pairs[r] =
          Pack((r == 0 ? cb.x : cb.z) * dt_k.x * near, (r == 0 ? cb.y : cb.w) * dt_k.y * far);
    }
  }

  // Of 64 tokens k from 64 `part` on.
  __device__ void Mix(const HeadStage& stage, int part, uint32_t (&mixing)[64 / 16][4]) {
#pragma unroll
    for (int j = 0; j < 64 / 16; ++j) {
      const int tokens16 = part * (64 / 16) + j;
      if (tokens16 < place.warp && is_one_sequence) {  // all k before all m
        Mix8<false>(stage, 2 * tokens16, mixing[j]);
        Mix8<false>(stage, 2 * tokens16 + 1, mixing[j] + 2);
      } else if (tokens16 <= place.warp) {
        Mix8<true>(stage, 2 * tokens16, mixing[j]);
        Mix8<true>(stage, 2 * tokens16 + 1, mixing[j] + 2);
      } else {
#pragma unroll
        for (uint32_t& pair : mixing[j]) pair = 0;
      }
    }
  }

  __device__ void TakeState(const HeadStage& stage, float (&out)[kHeadDim / 2]) {
    const uint64_t c = GroupRows::Descriptor(shared.c + kIndex * 64 * GroupRows::kWidth);
    const uint64_t state = StateRows::Descriptor(stage.state);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kStateSize / 16; ++i) {
      Multiply<kHeadDim, Major::K, Major::K>(c + GroupRows::Columns(i),
                                             state + StateRows::Columns(i), i > 0, out);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(out);
    const float* const from_start = stage.steps + kSsdFromStart * kChunk + place.row;
    const float decay[2] = {from_start[0], from_start[8]};
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) out[i] *= decay[i / 2 % 2];
  }

  __device__ void TakeHead(const HeadStage& stage, float (&out)[kHeadDim / 2], float skip) {
    if (has_state) TakeState(stage, out);
    const uint64_t x = HeadRows::Descriptor(stage.x);
#pragma unroll
    for (int part = 0; part <= kIndex; ++part) {
      uint32_t mixing[64 / 16][4];
      Mix(stage, part, mixing);
      Pin(out);
      cute::warpgroup_arrive();
#pragma unroll
      for (int i = 0; i < 64 / 16; ++i) {
        Multiply<kHeadDim, Major::MN>(mixing[i], x + HeadRows::Rows(part * (64 / 16) + i), true,
                                      out);
      }
      cute::warpgroup_commit_batch();
      cute::warpgroup_wait<0>();
      Pin(out);
    }
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 of_x = PairOf(stage.x, place.row + r * 8, i);
        out[4 * i + 2 * r] += skip * of_x.x;
        out[4 * i + 2 * r + 1] += skip * of_x.y;
      }
    }
  }

  Shared& shared;
  const GroupPlace place;
  const bool has_state, is_one_sequence;
  const int first[2];  // of the thread's rows, the sequence's first token
};

template <int kIndex>
__device__ void TakeChunk(const HopperProblem& p, const SsdChunk& chunk,
                          const cuda::Rows<__nv_bfloat16>& y, int team, Shared& shared) {
  const GroupPlace place;
  const int heads_per_group = p.heads / p.groups;
  const int first_head = static_cast<int>(blockIdx.y) * heads_per_group;
  const int32_t* const first = p.first + int64_t{blockIdx.x} * kChunk;
  TokenGroup<kIndex> group{shared,
                           place,
                           !chunk.is_first,
                           IsOneSequence(first),
                           {first[place.row], first[place.row + 8]}};
  RingPlace<kStages> ring;
  if (team == 0) {
    shared.ring.Await(ring);
    group.TakeProjections(shared.stages[ring.stage].x);
    shared.ring.Release(ring);
  } else {
    ring.Advance();
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kMathThreads) : "memory");
#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h) {
    if (h % kTeams != team) {
      ring.Advance();
      continue;
    }
    const float skip = cuda::ToFloat(p.skip[first_head + h]);
    shared.ring.Await(ring);
    float out[kHeadDim / 2] = {};
    group.TakeHead(shared.stages[ring.stage], out, skip);
    shared.ring.Release(ring);
    const int first_row = place.warp * kRowsOfWarp;
    StoreRows(out, 1.0f, shared.staging[threadIdx.x / cuda::kWarpSize],
              y[chunk.first_token + first_row] + (first_head + h) * kHeadDim, y.stride,
              chunk.length - first_row);
  }
}

__global__ __launch_bounds__(kThreads, 1) void OutputKernel(
    const __grid_constant__ Maps maps, const __grid_constant__ HopperProblem p,
    const __grid_constant__ cuda::Rows<__nv_bfloat16> y) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) shared.ring.Init(kTokenThreads);  // of one team
  __syncthreads();
  const SsdChunk chunk(p, blockIdx.x);
  if (threadIdx.x >= kMathThreads) {
    TakeLoadersRegisters();
    if (threadIdx.x == kMathThreads) {
      Load(maps, p, chunk, static_cast<int>(blockIdx.y), shared);
    }
    return;
  }
  TakeRegisters<112>();
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  if (group % kTokenGroups == 0) {
    TakeChunk<0>(p, chunk, y, group / kTokenGroups, shared);
  } else {
    TakeChunk<1>(p, chunk, y, group / kTokenGroups, shared);
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
      .block = kThreads,
      .shared_bytes = sizeof(Shared)};
  return HETERO_CUDA_LAUNCH(OutputKernel, shape, stream, maps, p,
                            cuda::RowsOf<__nv_bfloat16>(y_TI));
}

}  // namespace hetero::internal
