#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_MULTIPLY_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_MULTIPLY_CUH_

// The products of hopper_backward.cuh, and what lies between them.

#include <cstdint>

#include "hetero/tensor/ops/attention/hopper_tile.cuh"
#include "hetero/tensor/ops/hopper/rows.cuh"

namespace hetero::internal {

// Clears pairs of a thread's part of a block whose query does not see the key.
template <typename B>
__device__ void ClearUnseen(const BackwardTile& tile, int first_query,
                            uint32_t (&pairs)[B::kPairs]) {
  const int lane = threadIdx.x % cuda::kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key =
        tile.key_begin + threadIdx.x / cuda::kWarpSize * kRowsOfWarp + lane / 4 + half * 8;
    const int first = B::kCausal ? key : tile.segment_begin;
    const unsigned count = key < tile.segment_end ? tile.segment_end - first : 0;
    const int query = first_query + lane % 4 * 2 - first;
#pragma unroll
    for (int i = 0; i < B::kRows / 8; ++i) {
      const unsigned from = query + 8 * i;
      pairs[2 * i + half] &=
          (from < count ? 0x0000ffffu : 0u) | (from + 1 < count ? 0xffff0000u : 0u);
    }
  }
}

// The products of a group of warps. Scores and their gradients have keys as rows, 64 of the group,
// and queries as columns, so that they are at once operands of the keys' and values' gradients.
template <typename B>
class Group {
 public:
  using Scores = float[B::kScores];
  using Pairs = uint32_t[B::kPairs];
  using KeySums = float[B::kKeySums];

  __device__ explicit Group(BackwardShared<B>& shared)
      : shared_(shared), group_(__shfl_sync(~0u, threadIdx.x / kGroupThreads, 0)) {}

  __device__ int index() const { return group_; }

  // keys queriesᵀ, or values d_outᵀ
  __device__ void StartScores(const __nv_bfloat16* keys, const __nv_bfloat16* queries,
                              Scores& scores) const {
    const uint64_t a = B::Keys::Descriptor(keys + group_ * 64 * B::Keys::kWidth);
    const uint64_t b = B::Queries::Descriptor(queries);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < B::kSize / 16; ++i) {
      Multiply<B::kRows, Major::K, Major::K>(a + B::Keys::Columns(i), b + B::Queries::Columns(i),
                                             i > 0, scores);
    }
    cute::warpgroup_commit_batch();
  }

  // probabilities d_out, or d_scores queries
  __device__ void StartKeySums(const Pairs& pairs, const __nv_bfloat16* queries, bool add,
                               KeySums& sums) const {
    const uint64_t b = B::Queries::Descriptor(queries);
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < B::kRows / 16; ++i) {
      Multiply<B::kSize, Major::MN>(pairs + 4 * i, b + B::Queries::Rows(i), i > 0 || add, sums);
    }
    cute::warpgroup_commit_batch();
  }

  // d_scoresᵀ keys, of both groups' keys: the group's rows, or columns
  __device__ void StartQuerySums(int stage, float (&sums)[B::kQuerySums]) const {
    const uint64_t a = B::ScoreGradients::Descriptor(
        shared_.d_scores[stage] + (B::kSharesRows ? group_ * B::ScoreGradients::kPanel : 0));
    const uint64_t b = B::Keys::Descriptor(
        shared_.keys + (B::kSharesRows ? 0 : group_ * (B::Keys::kSize / kMathGroups)));
    cute::warpgroup_arrive();
#pragma unroll
    for (int i = 0; i < kBackwardKeys / 16; ++i) {
      Multiply<B::kQueryColumns, Major::MN, Major::MN>(a + B::ScoreGradients::Rows(i),
                                                       b + B::Keys::Rows(i), i > 0, sums);
    }
    cute::warpgroup_commit_batch();
  }

  __device__ void StoreScoreGradients(int stage, const Pairs& pairs) const {
    const int lane = threadIdx.x % cuda::kWarpSize;
    const int key = threadIdx.x / cuda::kWarpSize * kRowsOfWarp + lane / 8 % 2 * 8 + lane % 8;
    const uint32_t row = SharedAddress(shared_.d_scores[stage]) + key * 128;
#pragma unroll
    for (int i = 0; i < B::kRows / 16; ++i) {
      const int piece = 2 * i + lane / 16;
      StoreMatrices(row + piece / 8 * (2 * B::ScoreGradients::kPanel) + (piece % 8 ^ key % 8) * 16,
                    {pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]});
    }
    FenceStores();
  }

  // Hands a step's gradients of queries to the warp that adds them.
  __device__ void StoreQuerySums(uint32_t step, const float (&sums)[B::kQuerySums]) const {
    Wait(&shared_.d_queries_empty[group_], (step & 1) ^ 1);
    auto* const to =
        reinterpret_cast<float4*>(shared_.d_queries[group_]) + threadIdx.x % kGroupThreads;
#pragma unroll
    for (int i = 0; i < B::kQuerySums / 4; ++i) {
      const float* const s = sums + 4 * i;
      to[i * kGroupThreads] = {s[0], s[1], s[2], s[3]};
    }
    FenceStores();
    Arrive(&shared_.d_queries_full[Stage(step)][group_]);
  }

 private:
  BackwardShared<B>& shared_;
  const int group_;
};

// Scores to probabilities. `lse`: of the block's queries, in bits.
template <typename B>
__device__ void TakeProbabilities(const float* lse, float scale_in_bits,
                                  float (&scores)[B::kScores]) {
  const float* const from = lse + threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < B::kRows / 8; ++i) {
    const float2 of_query = *reinterpret_cast<const float2*>(from + 8 * i);
    float* const s = scores + 4 * i;
    s[0] = PowerOfTwo(fmaf(s[0], scale_in_bits, -of_query.x));
    s[1] = PowerOfTwo(fmaf(s[1], scale_in_bits, -of_query.y));
    s[2] = PowerOfTwo(fmaf(s[2], scale_in_bits, -of_query.x));
    s[3] = PowerOfTwo(fmaf(s[3], scale_in_bits, -of_query.y));
  }
}

// p (dp - Σ o d_o) and p in bf16. `delta`: those sums of the block's queries.
template <typename B>
__device__ void PackPairs(const float* delta, const float (&probabilities)[B::kScores],
                          const float (&gradients)[B::kScores], uint32_t (&p_pairs)[B::kPairs],
                          uint32_t (&d_pairs)[B::kPairs]) {
  const float* const from = delta + threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < B::kRows / 8; ++i) {
    const float2 of_query = *reinterpret_cast<const float2*>(from + 8 * i);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* const p = probabilities + 4 * i + 2 * half;
      const float* const g = gradients + 4 * i + 2 * half;
      d_pairs[2 * i + half] = Pack(p[0] * (g[0] - of_query.x), p[1] * (g[1] - of_query.y));
      p_pairs[2 * i + half] = Pack(p[0], p[1]);
    }
  }
}

// One step of a group: what it adds to the gradients of its keys and values stays in registers.
template <typename B>
__device__ void MultiplyStep(BackwardShared<B>& shared, const Group<B>& group, uint32_t step,
                             float scale_in_bits, const TileSlot& slot, int block, bool first,
                             float (&d_keys)[B::kKeySums], float (&d_values)[B::kKeySums]) {
  const int stage = Stage(step);
  float scores[B::kScores], gradients[B::kScores];
  Wait(&shared.queries_full[stage], Parity(step));
  group.StartScores(shared.keys, shared.queries[stage], scores);
  Wait(&shared.d_out_full[stage], Parity(step));
  group.StartScores(shared.values, shared.d_out[stage], gradients);
  const bool masked = slot.IsMasked(block);
  cute::warpgroup_wait<1>();
  if (B::kOverlaps && !first) Arrive(&shared.queries_empty[stage ^ 1]);
  Pin(scores);
  Wait(&shared.statistics_full[stage], Parity(step));
  const auto* const statistics = reinterpret_cast<const float*>(shared.statistics[stage]);
  TakeProbabilities<B>(statistics, scale_in_bits, scores);
  cute::warpgroup_wait<0>();
  Pin(gradients);
  uint32_t p_pairs[B::kPairs], d_pairs[B::kPairs];
  PackPairs<B>(statistics + B::kRows, scores, gradients, p_pairs, d_pairs);
  if (masked) {
    ClearUnseen<B>(slot.tile, block * B::kRows, p_pairs);
    ClearUnseen<B>(slot.tile, block * B::kRows, d_pairs);
  }
  Pin(d_values);
  group.StartKeySums(p_pairs, shared.d_out[stage], !first, d_values);
  group.StoreScoreGradients(stage, d_pairs);
  asm volatile("bar.sync 1, %0;" ::"n"(kMathThreads) : "memory");
  float d_queries[B::kQuerySums];
  group.StartQuerySums(stage, d_queries);
  cute::warpgroup_wait<1>();
  Pin(d_values);
  Arrive(&shared.d_out_empty[stage]);
  group.StartKeySums(d_pairs, shared.queries[stage], !first, d_keys);
  cute::warpgroup_wait<1>();
  Pin(d_queries);
  group.StoreQuerySums(step, d_queries);
  if constexpr (!B::kOverlaps) {
    cute::warpgroup_wait<0>();
    Pin(d_keys);
    Arrive(&shared.queries_empty[stage]);
  }
}

// Stages in the warp's rows of what the next step overwrites.
template <typename B>
__device__ void StoreKeyGradients(BackwardShared<B>& shared, const BackwardProblem& problem,
                                  const TileSlot& slot, uint32_t next_step,
                                  const float (&d_keys)[B::kKeySums],
                                  const float (&d_values)[B::kKeySums]) {
  static_assert(B::ScoreGradients::kRowBytes == kStagedColumns * sizeof(__nv_bfloat16));
  const int first_row = threadIdx.x / cuda::kWarpSize * kRowsOfWarp;
  auto* const staging = reinterpret_cast<unsigned char*>(shared.d_scores[Stage(next_step)] +
                                                         first_row * kStagedColumns);
  const int key = slot.tile.key_begin + first_row;
  const int column = (slot.group * problem.slots() + problem.heads_per_group) * B::kSize;
  __nv_bfloat16* const to = problem.d_qkv + key * problem.d_qkv_stride + column;
  const int num_rows = slot.tile.segment_end - key;
  StoreRows(d_keys, problem.scale, staging, to, problem.d_qkv_stride, num_rows);
  StoreRows(d_values, 1.0f, staging, to + B::kSize, problem.d_qkv_stride, num_rows);
}

template <typename B>
__device__ void MultiplyTiles(BackwardShared<B>& shared, const BackwardProblem& problem) {
  const Group<B> group(shared);
  uint32_t step = 0;
  for (uint32_t count = 0;; ++count) {
    const TileSlot* const slot = NextSlot(shared, count);
    if (slot == nullptr) return;
    Wait(&shared.keys_full, count & 1);
    float d_keys[B::kKeySums], d_values[B::kKeySums];
    int block = slot->blocks.first;
    const uint32_t first_step = step, end = step + slot->num_steps;
#pragma unroll 1
    for (; step != end; ++step) {
      MultiplyStep(shared, group, step, problem.scale_in_bits, *slot, block, step == first_step,
                   d_keys, d_values);
      if (++block == slot->blocks.end) block = slot->blocks.first;
    }
    if constexpr (B::kOverlaps) {
      cute::warpgroup_wait<0>();
      Pin(d_keys);
      Arrive(&shared.queries_empty[Stage(step) ^ 1]);
    }
    Arrive(&shared.keys_empty);
    StoreKeyGradients(shared, problem, *slot, step, d_keys, d_values);
    Arrive(&shared.slot_empty[Stage(count)]);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_MULTIPLY_CUH_
