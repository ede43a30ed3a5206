#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/ssd/hopper_tile.cuh"
#include "hetero/tensor/ops/ssd/hopper_token_group.cuh"
#include "hetero/tensor/ops/ssd/ssd_hopper.h"

// Letters and sums as in ssd_backward_cuda.cu: a group of four warps has 64 tokens k, and with V_k
// the gradient of dt_k x_k makes, for all heads of the block's group of heads,
//   V_k = sum_{m >= k} (C_m B_k) e_mk d_y_m + decay(k, end) d_state B_k,  d_x_k = dt_k V_k + skip
//   d_y_k, d_cb_km = sum over heads of (d_y_m x_k) e_mk dt_k,
//   d_b_k = sum over heads of dt_k decay(k, end) x_k d_state + sum_{m >= k} d_cb_km C_m,
// and kSsdDirect, kSsdFlow and kSsdSkip. d_cb and d_b stay in registers; B C^T, which registers do
// not hold too, in shared memory as each thread needs it.

namespace hetero::internal {
namespace {

struct Maps {
  CUtensorMap x, d_y;   // a head's rows
  CUtensorMap b, c;     // a group's rows
  CUtensorMap d_state;  // gradients of states
};

// B and C, the heads, C again.
__device__ void Load(const Maps& maps, const HopperProblem& p, const SsdChunk& chunk, int group,
                     InputShared& shared) {
  const int row = static_cast<int>(chunk.row), token = chunk.in_row * kChunk;
  const int heads_per_group = p.heads / p.groups, panel = group * GroupRows::kCount;
  RingPlace<kInputStages> place;
  uint64_t* full = shared.ring.Expect(place, 2 * GroupRows::kBytes);
  LoadBox(shared.b, maps.b, token, panel, row, full);
  LoadBox(shared.stages[place.stage].x, maps.c, token, panel, row, full);
  place.Advance();
#pragma unroll 1
  for (int h = 0; h < heads_per_group; ++h, place.Advance()) {
    InputStage& stage = shared.stages[place.stage];
    const int head = group * heads_per_group + h;
    full = shared.ring.Expect(place, 2 * HeadRows::kBytes + sizeof(stage.steps) +
                                         (chunk.is_last ? 0 : StateRows::kBytes));
    LoadBox(stage.x, maps.x, token, head, row, full);
    LoadBox(stage.d_y, maps.d_y, token, head, row, full);
    LoadBytes(stage.steps, p.Steps<HopperTile>(blockIdx.x, head), sizeof(stage.steps), full);
    if (chunk.is_last) continue;
    const int64_t state = p.StateOffset(chunk.row, chunk.in_row + 1, head) / kStateSize;
    LoadBox(stage.d_state, maps.d_state, static_cast<int>(state), 0, full);
  }
  full = shared.ring.Expect(place, GroupRows::kBytes);
  LoadBox(shared.stages[place.stage].x, maps.c, token, panel, row, full);
}

__global__ __launch_bounds__(kBlockThreads,
                             1) void InputGradientKernel(const __grid_constant__ Maps maps,
                                                         const __grid_constant__ InputArgs args) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<InputShared*>(memory);
  if (threadIdx.x == 0) shared.ring.Init(kTokenThreads);
  __syncthreads();
  const SsdChunk chunk(args.p, blockIdx.x);
  if (threadIdx.x >= kTokenThreads) {
    TakeLoadersRegisters();
    if (threadIdx.x == kTokenThreads) {
      Load(maps, args.p, chunk, static_cast<int>(blockIdx.y), shared);
    }
    return;
  }
  TakeMathRegisters();
  if (threadIdx.x < kGroupThreads) {
    TokenGroup<0>(args, chunk, shared).Run();
  } else {
    TokenGroup<1>(args, chunk, shared).Run();
  }
}

}  // namespace

absl::Status SsdInputGradientsHopper(const SsdInputs& inputs, const ConstTensorView& d_y_TI,
                                     const SsdGradients& gradients,
                                     const SsdCudaWorkspace& workspace, Stream& stream) {
  const InputArgs args = {.p = HopperProblem(inputs, workspace, {}),
                          .d_x = cuda::RowsOf<__nv_bfloat16>(gradients.d_x_TI),
                          .d_b = cuda::RowsOf<__nv_bfloat16>(gradients.d_b_TS),
                          .d_cb = workspace.d_cb.data<__nv_bfloat16>(),
                          .token_sums = workspace.token_sums.data<float>()};
  HETERO_ASSIGN_OR_RETURN(const TensorMaps* const maker, stream.State<TensorMaps>());
  Maps maps;
  const SequenceBatch& sequences = inputs.sequences;
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.x_TI, sequences, 1, maps.x));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, d_y_TI, sequences, 1, maps.d_y));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.b_TS, sequences, GroupRows::kCount, maps.b));
  HETERO_RETURN_IF_ERROR(MakeTokenMap(*maker, inputs.c_TS, sequences, GroupRows::kCount, maps.c));
  if (args.p.chunks_per_row > 1) {
    HETERO_RETURN_IF_ERROR(MakeMatrixMap(*maker, workspace.state_gradients, kHeadDim,
                                         StateRows::kCount, maps.d_state));
  }
  const cuda::LaunchShape shape = {
      .grid = {static_cast<unsigned>(args.p.num_chunks()), static_cast<unsigned>(args.p.groups)},
      .block = kBlockThreads,
      .shared_bytes = sizeof(InputShared)};
  return HETERO_CUDA_LAUNCH(InputGradientKernel, shape, stream, maps, args);
}

}  // namespace hetero::internal
