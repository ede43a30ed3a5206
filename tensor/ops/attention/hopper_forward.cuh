#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_CUH_

// The kernel of hopper_forward.h: one block a multiprocessor, which takes tile after tile from the
// list. A step is the tile's next keys; steps are counted over all tiles.

#include <cstdint>

#include "hetero/tensor/ops/attention/hopper_forward_tile.cuh"

namespace hetero::internal {

// queries keysᵀ of the group's 64 queries
template <typename F>
__device__ void StartScores(const __nv_bfloat16* queries, const __nv_bfloat16* keys,
                            float (&scores)[F::kScores]) {
  const uint64_t a = F::Queries::Descriptor(queries);
  const uint64_t b = F::Keys::Descriptor(keys);
  cute::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < F::kSize / 16; ++i) {
    Multiply<F::kKeys, Major::K, Major::K>(a + F::Queries::Columns(i), b + F::Keys::Columns(i),
                                           i > 0, scores);
  }
  cute::warpgroup_commit_batch();
}

// probabilities values
template <typename F>
__device__ void StartSums(const uint32_t (&pairs)[F::kPairs], const __nv_bfloat16* values, bool add,
                          float (&sums)[F::kSums]) {
  const uint64_t b = F::Keys::Descriptor(values);
  cute::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < F::kKeys / 16; ++i) {
    Multiply<F::kSize, Major::MN>(pairs + 4 * i, b + F::Keys::Rows(i), i > 0 || add, sums);
  }
  cute::warpgroup_commit_batch();
}

// The two rows of a thread: `first` and eight below. Their maxima are of scores that are not
// scaled; their sums are of the thread's columns only.
struct RowState {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
};

// Scores of keys that a row does not see become -infinity. `row`, `key`: of the thread's first
// score.
template <typename F>
__device__ void HideUnseen(int segment_end, int row, int key, float (&scores)[F::kScores]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int end = F::kCausal ? min(segment_end, row + 8 * half + 1) : segment_end;
#pragma unroll
    for (int i = 0; i < F::kKeys / 8; ++i) {
      float* const s = scores + 4 * i + 2 * half;
      if (key + 8 * i >= end) s[0] = -INFINITY;
      if (key + 8 * i + 1 >= end) s[1] = -INFINITY;
    }
  }
}

// Scores to powers, relative to the new maximum; `factors`: what earlier ones are to be multiplied
// by.
template <typename F>
__device__ void TakePowers(float scale_in_bits, float (&scores)[F::kScores], RowState& state,
                           float (&factors)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float max = state.max[half];
#pragma unroll
    for (int i = 0; i < F::kKeys / 8; ++i) {
      const float* const s = scores + 4 * i + 2 * half;
      max = fmaxf(max, fmaxf(s[0], s[1]));
    }
    max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
    max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
    const float scaled = max * scale_in_bits;
    factors[half] = PowerOfTwo(fmaf(state.max[half], scale_in_bits, -scaled));
    state.max[half] = max;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < F::kKeys / 8; ++i) {
      float* const s = scores + 4 * i + 2 * half;
      s[0] = PowerOfTwo(fmaf(s[0], scale_in_bits, -scaled));
      s[1] = PowerOfTwo(fmaf(s[1], scale_in_bits, -scaled));
      sum += s[0] + s[1];
    }
    state.sum[half] = fmaf(state.sum[half], factors[half], sum);
  }
}

template <typename F>
__device__ void PackPowers(const float (&scores)[F::kScores], uint32_t (&pairs)[F::kPairs]) {
#pragma unroll
  for (int i = 0; i < F::kPairs; ++i) pairs[i] = Pack(scores[2 * i], scores[2 * i + 1]);
}

template <typename F>
__device__ void Scale(const float (&factors)[2], float (&sums)[F::kSums]) {
#pragma unroll
  for (int i = 0; i < F::kSums; ++i) sums[i] *= factors[i / 2 % 2];
}

// Divides by the rows' sums and stores.
template <typename F>
__device__ void StoreTile(ForwardShared<F>& shared, const ForwardProblem& problem,
                          const ForwardSlot& slot, RowState& state, float (&sums)[F::kSums]) {
  constexpr float kLn2 = 0.6931471805599453f;
  const int warp = threadIdx.x / cuda::kWarpSize, lane = threadIdx.x % cuda::kWarpSize;
  const int first_row = slot.tile.query_begin + warp * kRowsOfWarp;
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    factors[half] = 1 / sum;
    const int row = first_row + lane / 4 + 8 * half;
    if (lane % 4 == 0 && row < slot.tile.segment_end) {
      problem.lse[slot.head * problem.tokens + row] =
          fmaf(state.max[half], problem.scale_in_bits, __log2f(sum)) * kLn2;
    }
  }
  Scale<F>(factors, sums);
  StoreRows(sums, 1.0f, shared.staging[warp],
            problem.o + first_row * problem.o_stride + slot.head * F::kSize, problem.o_stride,
            slot.tile.segment_end - first_row);
}

// The products of a tile run one step ahead of the exponentials.
template <typename F>
__device__ void AttendTile(ForwardShared<F>& shared, const ForwardProblem& problem,
                           const ForwardSlot& slot, uint32_t count, uint32_t first_step) {
  const int group = __shfl_sync(~0u, threadIdx.x / kGroupOfWarps, 0);
  const int lane = threadIdx.x % cuda::kWarpSize;
  const __nv_bfloat16* const queries =
      shared.queries[Stage(count)] + group * 64 * F::Queries::kWidth;
  // Keys from here on are not seen by all rows of the group.
  const int group_row = slot.tile.query_begin + group * 64;
  const int all_see =
      F::kCausal ? min(slot.tile.segment_end, group_row + 1) : slot.tile.segment_end;
  const int row = slot.tile.query_begin + threadIdx.x / cuda::kWarpSize * kRowsOfWarp + lane / 4;
  int key = slot.tile.segment_begin;
  const uint32_t end = first_step + slot.num_steps;

  RowState state;
  float scores[F::kScores], sums[F::kSums] = {}, factors[2];
  uint32_t pairs[F::kPairs];
  const auto hide_and_take = [&] {
    if (key + F::kKeys > all_see) {
      HideUnseen<F>(slot.tile.segment_end, row, key + lane % 4 * 2, scores);
    }
    key += F::kKeys;
    TakePowers<F>(problem.scale_in_bits, scores, state, factors);
  };

  Wait(&shared.queries_full[Stage(count)], Parity(count));
  Wait(&shared.keys_full[Stage(first_step)], Parity(first_step));
  StartScores<F>(queries, shared.keys[Stage(first_step)], scores);
  cute::warpgroup_wait<0>();
  Pin(scores);
  Arrive(&shared.keys_empty[Stage(first_step)]);
  hide_and_take();
  PackPowers<F>(scores, pairs);
#pragma unroll 1
  for (uint32_t step = first_step + 1; step != end; ++step) {
    Wait(&shared.keys_full[Stage(step)], Parity(step));
    StartScores<F>(queries, shared.keys[Stage(step)], scores);
    Wait(&shared.values_full[Stage(step - 1)], Parity(step - 1));
    Pin(sums);
    StartSums<F>(pairs, shared.values[Stage(step - 1)], step - 1 != first_step, sums);
    cute::warpgroup_wait<1>();
    Pin(scores);
    Arrive(&shared.keys_empty[Stage(step)]);
    hide_and_take();
    cute::warpgroup_wait<0>();
    Pin(sums);
    Pin(pairs);
    Arrive(&shared.values_empty[Stage(step - 1)]);
    Scale<F>(factors, sums);
    PackPowers<F>(scores, pairs);
  }
  Wait(&shared.values_full[Stage(end - 1)], Parity(end - 1));
  Pin(sums);
  StartSums<F>(pairs, shared.values[Stage(end - 1)], slot.num_steps > 1, sums);
  cute::warpgroup_wait<0>();
  Pin(sums);
  Arrive(&shared.values_empty[Stage(end - 1)]);
  StoreTile(shared, problem, slot, state, sums);
}

template <typename F>
__device__ void AttendTiles(ForwardShared<F>& shared, const ForwardProblem& problem) {
  uint32_t step = 0;
#pragma unroll 1
  for (uint32_t count = 0;; ++count) {
    Wait(&shared.slot_full[Stage(count)], Parity(count));
    const ForwardSlot& slot = shared.slots[Stage(count)];
    if (slot.head < 0) return;
    AttendTile(shared, problem, slot, count, step);
    step += slot.num_steps;
    Arrive(&shared.slot_empty[Stage(count)]);
  }
}

template <typename F>
__global__ __launch_bounds__(F::kThreads,
                             1) void ForwardKernel(const __grid_constant__ ForwardMaps maps,
                                                   const __grid_constant__ ForwardProblem problem) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<ForwardShared<F>*>(memory);
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  if (threadIdx.x >= F::kMathThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(F::kOtherRegisters));
    if (threadIdx.x == F::kMathThreads) LoadTiles(shared, maps, problem);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(F::kMathRegisters));
    AttendTiles(shared, problem);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_CUH_
