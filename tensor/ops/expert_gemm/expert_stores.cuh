#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_STORES_CUH_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_STORES_CUH_

// How expert_gemm_hopper.cu stores the sums of a tile, and what it makes of them on the way.

#include <cstdint>

#include "hetero/tensor/ops/expert_gemm/expert_tiles.cuh"

namespace hetero::internal::expert_gemm {

__device__ inline uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Turns 64 columns of a warp's sums, from the run-th on, into rows of bf16 in `staging`.
__device__ inline void StageRun(const float (&sums)[kSums], int run, unsigned char* staging) {
  const int lane = threadIdx.x % kWarpSize;
  // Lane l gives the address of row l % 8 of matrix l / 8: rows 0-7 and 8-15 of 8 columns, then of
  // the next 8.
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(staging)) +
                      (lane / 8 % 2 * 8 + lane % 8) * kRowPitch + lane / 16 * 16;
#pragma unroll
  for (int pair = 0; pair < kSide / 16; ++pair) {
    const float* const s = sums + run * (kSide / 2) + pair * 8;
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to + pair * 32),
        "r"(Pack(s[0], s[1])), "r"(Pack(s[2], s[3])), "r"(Pack(s[4], s[5])), "r"(Pack(s[6], s[7]))
        : "memory");
  }
}

// The same numbers as those of SquaredReluForward, of values that are rounded already.
__device__ inline uint4 SquaredRelu(const uint4& values, float p) {
  uint4 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t pair = (&values.x)[i];
    const float2 f = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
    const float x = f.x > 0.0f ? f.x : 0.0f, y = f.y > 0.0f ? f.y : 0.0f;
    (&result.x)[i] = Pack(x * x * p, y * y * p);
  }
  return result;
}

// Likewise of SquaredReluBackward; adds the terms of the gradient of p to `sum`.
__device__ inline uint4 SquaredReluBackward(const uint4& da, const uint4& f, float p, float& sum) {
  uint4 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t da_pair = (&da.x)[i], f_pair = (&f.x)[i];
    const float2 d = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(da_pair));
    const float2 x = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(f_pair));
    const float2 positive = {x.x > 0.0f ? x.x : 0.0f, x.y > 0.0f ? x.y : 0.0f};
    const float2 gradient = {d.x * positive.x, d.y * positive.y};
    sum += gradient.x * positive.x;
    sum += gradient.y * positive.y;
    (&result.x)[i] = Pack(gradient.x * (2.0f * p), gradient.y * (2.0f * p));
  }
  return result;
}

// A warp stores 16 rows of the panels of its group: rows of bf16, in runs of 64 columns that it
// turns in shared memory into 16-byte stores.
template <Epilogue kEpilogue>
__device__ void StoreRows(const Problem& problem, const Tile& tile, int panel,
                          const float (&sums)[kSums], unsigned char* staging) {
  constexpr bool kBackward = kEpilogue == Epilogue::kSquaredReluBackward;
  const int lane = threadIdx.x % kWarpSize;
  const int first = tile.m0 + panel * kSide + threadIdx.x % kGroupThreads / kWarpSize * kRunRows;
  // A lane has a piece of 8 columns of every fourth row, from this one on.
  const int row = first + lane / 8;
  const int piece = lane % 8 * 8;
  float dp[4] = {};
#pragma unroll
  for (int run = 0; run < kPanelsN; ++run) {
    const int column = tile.n0 + run * kSide;
    if (column >= problem.columns) break;
    const bool has_columns = column + piece < problem.columns;
    const int64_t at = (tile.begin + row) * int64_t{problem.columns} + column + piece;
    const int64_t next = 4 * int64_t{problem.columns};
    [[maybe_unused]] uint4 f[4];
    if constexpr (kBackward) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (row + 4 * i < tile.rows && has_columns) {
          f[i] = __ldg(reinterpret_cast<const uint4*>(problem.f + at + i * next));
        }
      }
    }
    StageRun(sums, run, staging);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (row + 4 * i >= tile.rows || !has_columns) continue;
      uint4 values = *reinterpret_cast<const uint4*>(staging + (i * 4 + lane / 8) * kRowPitch +
                                                     piece * sizeof(__nv_bfloat16));
      if constexpr (kEpilogue != Epilogue::kNone) {
        const float p = problem.p == nullptr ? 1.0f : __ldg(problem.p + tile.begin + row + 4 * i);
        if constexpr (kBackward) {
          values = SquaredReluBackward(values, f[i], p, dp[i]);
        } else {
          *reinterpret_cast<uint4*>(problem.activated + at + i * next) = SquaredRelu(values, p);
        }
      }
      *reinterpret_cast<uint4*>(problem.c + at + i * next) = values;
    }
    __syncwarp();
  }
  if constexpr (kBackward) {
    if (problem.dp_parts == nullptr) return;
    float* const parts = problem.dp_parts + tile.n0 / kTileN * int64_t{problem.num_rows};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float sum = cuda::WarpSum<8>(dp[i]);
      if (lane % 8 == 0 && row + 4 * i < tile.rows && tile.n0 < problem.columns) {
        parts[tile.begin + row + 4 * i] = sum;
      }
    }
  }
}

// f32, in runs of 32 columns that tensor copies add to c or write to it, cut at its edges. Two are
// in flight; `turn` counts them.
__device__ inline void StoreSums(const Maps& maps, const Problem& problem, const Tile& tile,
                                 int panel, const float (&sums)[kSums], unsigned char* staging,
                                 int& turn) {
  const int lane = threadIdx.x % kWarpSize;
  const int first = tile.m0 + panel * kSide + threadIdx.x % kGroupThreads / kWarpSize * kRunRows;
#pragma unroll
  for (int run = 0; run < kTileN / kRunColumns; ++run) {
    const int column = tile.n0 + run * kRunColumns;
    if (column >= problem.columns) break;
    float* const buffer =
        reinterpret_cast<float*>(staging) + (turn++ % 2) * (kRunRows * kRunColumns);
    if (lane == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<1>());
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kRunColumns / 8; ++i) {
      const float* const s = sums + run * (kRunColumns / 2) + i * 4;
      const int piece = i * 2 + lane % 4 / 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = half * 8 + lane / 4;
        *reinterpret_cast<float2*>(buffer + row * kRunColumns + (piece ^ row % 8) * 4 +
                                   lane % 2 * 2) = {s[half * 2], s[half * 2 + 1]};
      }
    }
    ptx::fence_proxy_async(ptx::space_shared);
    __syncwarp();
    if (lane == 0) {
      const int32_t at[3] = {column, first, tile.expert};
      if (problem.accumulate) {
        ptx::cp_reduce_async_bulk_tensor(ptx::space_global, ptx::space_shared, ptx::op_add, &maps.c,
                                         at, buffer);
      } else {
        ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, &maps.c, at, buffer);
      }
      ptx::cp_async_bulk_commit_group();
    }
  }
}

}  // namespace hetero::internal::expert_gemm

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_STORES_CUH_
