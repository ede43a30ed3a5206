#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

// Of one group of heads of one chunk, a group of four warps for 64 tokens m:
//   d_c_m = sum over heads of decay(start, m) d_y_m state + sum_{k <= m} d_cb_km B_k,
// and, of every head, kSsdEntering: C_m times the term of the entering state.

namespace hetero::internal {
namespace {

constexpr int kStages = 4;

struct Maps {
  CUtensorMap d_y;    // a head's rows
  CUtensorMap b, c;   // a group's rows
  CUtensorMap state;  // entering states
  CUtensorMap d_cb;
};

struct HeadStage {  // also C, d_cb or B, in place of both
  alignas(1024) __nv_bfloat16 d_y[HeadRows::kSize];
  alignas(1024) __nv_bfloat16 state[StateRows::kSize];
  alignas(1024) float from_start[kChunk];
};
static_assert(offsetof(HeadStage, state) == HeadRows::kBytes);

struct Shared {
  HeadStage stages[kStages];
  alignas(128) unsigned char staging[kTokenThreads / cuda::kWarpSize][kStagedBytes];
  RingBarriers<kStages> ring;
};
static_assert(sizeof(Shared) <= 227 << 10);

// C and the heads where a state enters, d_cb, B.
__device__ void Load(const Maps& maps, const HopperProblem& p, const SsdChunk& chunk, int group,
                     Shared& shared) {
  const int row = static_cast<int>(chunk.row), token = chunk.in_row * kChunk;
  const int heads_per_group = p.heads / p.groups, panel = group * GroupRows::kCount;
  RingPlace<kStages> place;
  const auto load_group = [&](const CUtensorMap& map) {
    uint64_t* const full = shared.ring.Expect(place, GroupRows::kBytes);
    LoadBox(shared.stages[place.stage].d_y, map, token, panel, row, full);
    place.Advance();
  };
  if (!chunk.is_first) {
    load_group(maps.c);
#pragma unroll 1
    for (int h = 0; h < heads_per_group; ++h, place.Advance()) {
      HeadStage& stage = shared.stages[place.stage];
      const int head = group * heads_per_group + h;
      uint64_t* const full = shared.ring.Expect(
          place, HeadRows::kBytes + StateRows::kBytes + sizeof(stage.from_start));
      const int64_t state = p.StateOffset(chunk.row, chunk.in_row, head) / kStateSize;
      LoadBox(stage.d_y, maps.d_y, token, head, row, full);
      LoadBox(stage.state, maps.state, static_cast<int>(state), 0, full);
      LoadBytes(stage.from_start, p.Steps<HopperTile>(blockIdx.x, head) + kSsdFromStart * kChunk,
                sizeof(stage.from_start), full);
    }
  }
  uint64_t* const full = shared.ring.Expect(place, GroupRows::kBytes);
  LoadBox(shared.stages[place.stage].d_y, maps.d_cb,
          static_cast<int>(blockIdx.x * p.groups + group) * kChunk, 0, full);
  place.Advance();
  load_group(maps.b);
}

__device__ void TakeHeads(const HopperProblem& p, const GroupPlace& place, float* token_sums,
                          Shared& shared, RingPlace<kStages>& ring, float (&d_c)[kStateSize / 2]) {
  const int heads_per_group = p.heads / p.groups;
  const int first_head = static_cast<int>(blockIdx.y) * heads_per_group;
  uint32_t c[kStateSize / 4];
  shared.ring.Await(ring);
#pragma unroll
  for (int i = 0; i < kStateSize / 8; ++i) {
    const __nv_bfloat16* const panel = shared.stages[ring.stage].d_y + i / 8 * GroupRows::kPanel;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      c[2 * i + r] = *reinterpret_cast<const uint32_t*>(PieceOf(panel, place.row + r * 8, i % 8) +
                                                        place.column);
    }
  }
  shared.ring.Release(ring);
#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h) {
    shared.ring.Await(ring);
    const HeadStage& stage = shared.stages[ring.stage];
    const float weight[2] = {stage.from_start[place.row], stage.from_start[place.row + 8]};
    const uint64_t a = HeadRows::Descriptor(stage.d_y + place.group * 64 * HeadRows::kWidth);
    const uint64_t b = StateRows::Descriptor(stage.state);
    float product[kStateSize / 2];
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
      Multiply<kStateSize, Major::K, Major::MN>(a + HeadRows::Columns(i), b + StateRows::Rows(i),
                                                i > 0, product);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(product);
    shared.ring.Release(ring);
    float entering[2][2] = {};  // of halves of the columns, of rows
#pragma unroll
    for (int i = 0; i < kStateSize / 8; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 of_c = __bfloat1622float2(cuda::internal::AsPair(c[2 * i + r]));
        const float* const of = product + 4 * i + 2 * r;
        entering[i / 8][r] += of_c.x * of[0] + of_c.y * of[1];
        d_c[4 * i + 2 * r] += weight[r] * of[0];
        d_c[4 * i + 2 * r + 1] += weight[r] * of[1];
      }
    }
    float* const sums =
        token_sums +
        (int64_t{blockIdx.x} * p.heads + first_head + h) * (kNumSsdTokenSums * kChunk) +
        kSsdEntering * kChunk + place.row;
    static_assert(kSsdEnteringFar == kSsdEntering + 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float sum = cuda::RowOfSumsSum(entering[half][r]);
        if (place.column == 0) sums[half * kChunk + r * 8] = weight[r] * sum;
      }
    }
  }
}

// d_c += d_cb^T B, of tokens k up to the last of the group's 64.
__device__ void AddPairs(const __nv_bfloat16* d_cb, const __nv_bfloat16* b, const GroupPlace& place,
                         float (&d_c)[kStateSize / 2]) {
  const uint64_t a_rows = GroupRows::Descriptor(d_cb + place.group * GroupRows::kPanel);
  const uint64_t b_rows = GroupRows::Descriptor(b);
  constexpr int kSteps = 64 / 16;
  Pin(d_c);
#pragma unroll 1
  for (int first = 0; first < (place.group + 1) * kSteps; first += kSteps) {
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      Multiply<kStateSize, Major::MN, Major::MN>(a_rows + GroupRows::Rows(first + i),
                                                 b_rows + GroupRows::Rows(first + i), true, d_c);
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<0>();
    Pin(d_c);
  }
}

__global__ __launch_bounds__(kBlockThreads,
                             1) void ReadingGradientKernel(const __grid_constant__ Maps maps,
                                                           const __grid_constant__ HopperProblem p,
                                                           cuda::Rows<__nv_bfloat16> to,
                                                           float* token_sums) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) shared.ring.Init(kTokenThreads);
  __syncthreads();
  const SsdChunk chunk(p, blockIdx.x);
  const int group = static_cast<int>(blockIdx.y);
  if (threadIdx.x >= kTokenThreads) {
    TakeLoadersRegisters();
    if (threadIdx.x == kTokenThreads) Load(maps, p, chunk, group, shared);
    return;
  }
  TakeMathRegisters();
  const GroupPlace place;
  RingPlace<kStages> ring;
  float d_c[kStateSize / 2];
  Clear(d_c);
  if (!chunk.is_first) TakeHeads(p, place, token_sums, shared, ring, d_c);
  const __nv_bfloat16* const d_cb = shared.stages[ring.stage].d_y;
  shared.ring.Await(ring);
  ring.Advance();
  const __nv_bfloat16* const b = shared.stages[ring.stage].d_y;
  shared.ring.Await(ring);
  AddPairs(d_cb, b, place, d_c);
  const int first = place.warp * kRowsOfWarp;
  StoreRows(d_c, 1.0f, shared.staging[place.warp],
            to[chunk.first_token + first] + group * kStateSize, to.stride, chunk.length - first);
}

}  // namespace

absl::Status SsdReadingGradientsHopper(const SsdInputs& inputs, const ConstTensorView& states,
                                       const ConstTensorView& d_y_TI, const SsdGradients& gradients,
                                       const SsdCudaWorkspace& workspace, Stream& stream) {
  const HopperProblem p(inputs, workspace, {});
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maker, stream.State<TensorMaps>());
  Maps maps;
  const SequenceBatch& sequences = inputs.sequences;
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, d_y_TI, sequences, 1, maps.d_y));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.b_TS, sequences, GroupRows::kCount, maps.b));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.c_TS, sequences, GroupRows::kCount, maps.c));
  HETERO_RETURN_IF_ERROR(MakeMatrixMap(*maker, workspace.d_cb, kChunk, 2, maps.d_cb));
  if (p.chunks_per_row > 1) {
    HETERO_RETURN_IF_ERROR(MakeMatrixMap(*maker, states, kHeadDim, StateRows::kCount, maps.state));
  }
  const cuda::LaunchShape shape = {
      .grid = {static_cast<unsigned>(p.num_chunks()), static_cast<unsigned>(p.groups)},
      .block = kBlockThreads,
      .shared_bytes = sizeof(Shared)};
  return HETERO_CUDA_LAUNCH(ReadingGradientKernel, shape, stream, maps, p,
                            cuda::RowsOf<__nv_bfloat16>(gradients.d_c_TS),
                            workspace.token_sums.data<float>());
}

}  // namespace hetero::internal
