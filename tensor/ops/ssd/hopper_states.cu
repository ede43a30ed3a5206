#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

// The recurrence of ssd_states_cuda.cu. A group of four warps keeps [P, 64] of one head's state in
// registers over the whole row, the rows times their weights are its operand from registers.

namespace hetero::internal {
namespace {

constexpr int kColumns = 64;  // of a state, a block's
constexpr int kThreads = kGroupThreads + cuda::kWarpSize;
using EnteringRows = Panels<kHeadDim, kColumns>;

struct ScanMaps {
  CUtensorMap rows;      // x or d_y, a head's
  CUtensorMap columns;   // B or C, a block's
  CUtensorMap entering;  // states, a block's
};

struct ScanShared {
  static constexpr int kStages = 4;

  alignas(1024) __nv_bfloat16 rows[kStages][HeadRows::kSize];
  alignas(1024) __nv_bfloat16 columns[kStages][HeadRows::kSize];
  alignas(1024) __nv_bfloat16 entering[kStages][EnteringRows::kSize];  // backward only
  alignas(128) float into_state[kStages][kChunk];
  alignas(128) float from_start[kStages][kChunk];
  alignas(128) unsigned char staging[4][kStagedBytes];
  RingBarriers<kStages> ring;
};
static_assert(sizeof(ScanShared) <= 227 << 10);

template <bool kReverse>
__device__ int ChunkOf(const HopperProblem& p, int step) {
  return kReverse ? p.chunks_per_row - 1 - step : step;
}

template <bool kReverse>
__device__ void LoadChunks(const ScanMaps& maps, const HopperProblem& p, ScanShared& shared) {
  const int head = static_cast<int>(blockIdx.y), row = static_cast<int>(blockIdx.z);
  const int group = head / (p.heads / p.groups);
  const int panel = group * GroupRows::kCount + static_cast<int>(blockIdx.x);
  constexpr uint32_t kStepBytes = kChunk * sizeof(float);
  constexpr uint32_t kBytes =
      2 * HeadRows::kBytes + (kReverse ? EnteringRows::kBytes + kStepBytes : 2 * kStepBytes);
  RingPlace<ScanShared::kStages> place;
#pragma unroll 1
  for (int i = 0; i + 1 < p.chunks_per_row; ++i, place.Advance()) {
    const int chunk = ChunkOf<kReverse>(p, i), stage = place.stage;
    const int token = chunk * kChunk;
    uint64_t* const full = shared.ring.Expect(place, kBytes);
    LoadBox(shared.rows[stage], maps.rows, token, head, row, full);
    LoadBox(shared.columns[stage], maps.columns, token, panel, row, full);
    const float* const steps = p.Steps<HopperTile>(int64_t{row} * p.chunks_per_row + chunk, head);
    LoadBytes(shared.from_start[stage], steps + kSsdFromStart * kChunk, kStepBytes, full);
    if constexpr (kReverse) {
      const int64_t state = p.StateOffset(row, chunk, head) / kStateSize;
      LoadBox(shared.entering[stage], maps.entering, static_cast<int>(state),
              static_cast<int>(blockIdx.x), full);
    } else {
      LoadBytes(shared.into_state[stage], steps + kSsdIntoState * kChunk, kStepBytes, full);
    }
  }
}

// Of <entering state, gradient of the leaving one>, what the warp has: 16 x 32 elements and again.
__device__ void StoreStateSums(const float (&state)[32], const __nv_bfloat16* entering,
                               const GroupPlace& place, float* sums) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = 0;
#pragma unroll
    for (int i = half * 4; i < half * 4 + 4; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 pair = PairOf(entering, place.row + r * 8, i);
        sum += pair.x * state[4 * i + 2 * r] + pair.y * state[4 * i + 2 * r + 1];
      }
    }
    sum = cuda::WarpSum(sum);
    if (place.lane == 0) sums[half * (kHeadDim / 16) + place.warp] = sum;
  }
}

template <bool kReverse>
__device__ void MultiplyChunks(const HopperProblem& p, __nv_bfloat16* out, float* state_sums,
                               ScanShared& shared) {
  const int head = static_cast<int>(blockIdx.y), row = static_cast<int>(blockIdx.z);
  const GroupPlace place;
  RingPlace<ScanShared::kStages> ring;
  float state[32] = {};
#pragma unroll 1
  for (int i = 0; i + 1 < p.chunks_per_row; ++i) {
    const int chunk = ChunkOf<kReverse>(p, i), stage = ring.stage;
    shared.ring.Await(ring);
    if constexpr (kReverse) {
      const int64_t chunk_head = (int64_t{row} * p.chunks_per_row + chunk) * p.heads + head;
      StoreStateSums(state, shared.entering[stage], place,
                     state_sums + chunk_head * HopperTile::kExtents.num_state_parts() +
                         static_cast<int>(blockIdx.x) * HopperTile::kExtents.num_state_warps());
    }
    const float* const weights =
        (kReverse ? shared.from_start[stage] : shared.into_state[stage]) + place.column;
    const float decay = shared.from_start[stage][kChunk - 1];
#pragma unroll
    for (float& s : state) s *= decay;
    uint32_t a[kChunk / 16][4];
    const uint64_t b = HeadRows::Descriptor(shared.columns[stage]);
    Pin(state);
#pragma unroll
    for (int k = 0; k < kChunk / 16; ++k) {
      LoadColumns(shared.rows[stage], place, k, a[k]);
      const float2 near = cuda::LoadPair(weights + k * 16);
      const float2 far = cuda::LoadPair(weights + k * 16 + 8);
      a[k][0] = Scale(a[k][0], near.x, near.y);
      a[k][1] = Scale(a[k][1], near.x, near.y);
      a[k][2] = Scale(a[k][2], far.x, far.y);
      a[k][3] = Scale(a[k][3], far.x, far.y);
      if (k % 4 != 3) continue;
      cute::warpgroup_arrive();
#pragma unroll
      for (int j = k - 3; j <= k; ++j) {
        Multiply<kColumns, Major::MN>(a[j], b + HeadRows::Rows(j), true, state);
      }
      cute::warpgroup_commit_batch();
    }
    cute::warpgroup_wait<0>();
    Pin(state);
    shared.ring.Release(ring);
    // Forward leaves what enters the next chunk, backward the gradient of what entered this one.
    __nv_bfloat16* const to = out + p.StateOffset(row, kReverse ? chunk : chunk + 1, head) +
                              place.warp * kRowsOfWarp * kStateSize +
                              static_cast<int>(blockIdx.x) * kColumns;
    StoreRows(state, 1.0f, shared.staging[place.warp], to, kStateSize, kRowsOfWarp);
  }
}

template <bool kReverse>
__global__ __launch_bounds__(kThreads, 1) void ScanKernel(const __grid_constant__ ScanMaps maps,
                                                          const __grid_constant__ HopperProblem p,
                                                          __nv_bfloat16* out, float* state_sums) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<ScanShared*>(memory);
  if (threadIdx.x == 0) shared.ring.Init(kGroupThreads);
  __syncthreads();
  if (threadIdx.x < kGroupThreads) {
    MultiplyChunks<kReverse>(p, out, state_sums, shared);
  } else if (threadIdx.x == kGroupThreads) {
    LoadChunks<kReverse>(maps, p, shared);
  }
}

template <bool kReverse>
absl::Status Launch(const HopperProblem& p, const SsdInputs& inputs, const ConstTensorView& rows,
                    const ConstTensorView& columns, const ConstTensorView& states,
                    const TensorView& out, float* state_sums, Stream& stream) {
  if (p.chunks_per_row == 1) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maker, stream.State<TensorMaps>());
  ScanMaps maps;
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, rows, inputs.sequences, 1, maps.rows));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, columns, inputs.sequences, 1, maps.columns));
  HETERO_RETURN_IF_ERROR(MakeMatrixMap(*maker, states, kHeadDim, 1, maps.entering));
  const cuda::LaunchShape shape = {.grid = {GroupRows::kCount, static_cast<unsigned>(p.heads),
                                            static_cast<unsigned>(inputs.sequences.num_rows)},
                                   .block = kThreads,
                                   .shared_bytes = sizeof(ScanShared)};
  return HETERO_CUDA_LAUNCH(ScanKernel<kReverse>, shape, stream, maps, p, out.data<__nv_bfloat16>(),
                            state_sums);
}

}  // namespace

absl::Status SsdStatesHopper(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                             Stream& stream) {
  const HopperProblem p(inputs, workspace, {});
  return Launch<false>(p, inputs, inputs.x_TI, inputs.b_TS, workspace.states, workspace.states,
                       nullptr, stream);
}

absl::Status SsdStateGradientsHopper(const SsdInputs& inputs, const ConstTensorView& states,
                                     const ConstTensorView& d_y_TI,
                                     const SsdCudaWorkspace& workspace, Stream& stream) {
  const HopperProblem p(inputs, workspace, {d_y_TI});
  return Launch<true>(p, inputs, d_y_TI, inputs.c_TS, states, workspace.state_gradients,
                      workspace.state_sums.data<float>(), stream);
}

}  // namespace hetero::internal
