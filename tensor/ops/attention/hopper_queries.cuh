#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_QUERIES_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_QUERIES_CUH_

// What runs before and after the kernel of hopper_backward.cuh, a block of threads for every block
// of queries and head. Both wait for memory: they read o and d_o, and read the gradients of queries
// in f32 and write them in bf16.

#include <cstdint>

#include "hetero/tensor/ops/attention/hopper_tile.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/hopper/rows.cuh"

namespace hetero::internal {

inline constexpr int kQueryThreads = kMathThreads;

struct PrepareArgs {
  cuda::Rows<const __nv_bfloat16> o, d_o;
  const float* lse;   // [heads, tokens]
  float* statistics;  // what BackwardProblem reads
  int tokens;
};

// A group of 16 lanes takes a row of a head, 8 elements each.
template <typename B>
__device__ void StoreStatistics(const PrepareArgs& args, int block, int head) {
  constexpr int kLanes = 16;
  constexpr float kLog2E = 1.4426950408889634f;
  static_assert(B::kSize <= 8 * kLanes);
  const int lane = threadIdx.x % kLanes;
  float* const to = args.statistics + (int64_t{head} * gridDim.x + block) * (2 * B::kRows);
#pragma unroll
  for (int r = threadIdx.x / kLanes; r < B::kRows; r += kQueryThreads / kLanes) {
    const int row = block * B::kRows + r;
    float sum = 0;
    if (row < args.tokens && lane < B::kSize / 8) {
      const int column = head * B::kSize + lane * 8;
      float o[8], d_o[8];
      cuda::Load(args.o[row] + column, o);
      cuda::Load(args.d_o[row] + column, d_o);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(o[i], d_o[i], sum);
    }
    sum = cuda::WarpSum<kLanes>(sum);
    if (lane == 0) {
      to[r] = row < args.tokens ? args.lse[int64_t{head} * args.tokens + row] * kLog2E : 0;
      to[B::kRows + r] = sum;
    }
  }
}

// Blocks that segments share, or that end behind all tokens, have no tile that stores first.
template <typename B>
__device__ void ClearSharedBlocks(const BackwardProblem& problem, const BackwardTile& tile,
                                  int head) {
  if (tile.key_begin != tile.segment_begin) return;
  for (const int border : {tile.segment_begin, tile.segment_end}) {
    if (border % B::kRows == 0) continue;
    constexpr int kFloats = kMathGroups * B::kQueryPart;
    const int64_t block = int64_t{head} * problem.num_blocks + border / B::kRows;
    auto* const to = reinterpret_cast<float4*>(problem.d_queries + block * kFloats);
    for (int i = threadIdx.x; i < kFloats / 4; i += kQueryThreads) to[i] = {};
  }
}

template <typename B>
__global__ __launch_bounds__(kQueryThreads) void PrepareKernel(const PrepareArgs args,
                                                               const BackwardProblem problem) {
  const int block = blockIdx.x, head = blockIdx.y;
  StoreStatistics<B>(args, block, head);
  for (int i = block; i < problem.num_tiles; i += gridDim.x) {
    ClearSharedBlocks<B>(problem, problem.tiles[i], head);
  }
  for (int i = block * kQueryThreads + threadIdx.x; i < problem.turns_of_head;
       i += gridDim.x * kQueryThreads) {
    problem.turns[int64_t{head} * problem.turns_of_head + i] = 0;
  }
  if (block == 0 && head == 0 && threadIdx.x == 0) *problem.next = 0;
}

template <typename B>
__global__ __launch_bounds__(kQueryThreads) void FinishKernel(const BackwardProblem problem,
                                                              int tokens) {
  __shared__ __align__(128) unsigned char staging[kMathWarps][kStagedBytes];
  const int block = blockIdx.x, head = blockIdx.y;
  const int group = threadIdx.x / kGroupThreads, warp = threadIdx.x / cuda::kWarpSize;
  const float* const part =
      problem.d_queries +
      ((int64_t{head} * problem.num_blocks + block) * kMathGroups + group) * B::kQueryPart;
  const auto* const from = reinterpret_cast<const float4*>(part) + threadIdx.x % kGroupThreads;
  float sums[B::kQuerySums];
#pragma unroll
  for (int i = 0; i < B::kQuerySums / 4; ++i) {
    const float4 four = __ldcs(from + i * kGroupThreads);
    sums[4 * i] = four.x;
    sums[4 * i + 1] = four.y;
    sums[4 * i + 2] = four.z;
    sums[4 * i + 3] = four.w;
  }
  const int row =
      block * B::kRows + (B::kSharesRows ? warp : warp % (kMathWarps / kMathGroups)) * kRowsOfWarp;
  const int slot =
      head / problem.heads_per_group * problem.slots() + head % problem.heads_per_group;
  const int column = slot * B::kSize + (B::kSharesRows ? 0 : group * B::kQueryColumns);
  StoreRows(sums, problem.scale, staging[warp], problem.d_qkv + row * problem.d_qkv_stride + column,
            problem.d_qkv_stride, tokens - row);
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_QUERIES_CUH_
