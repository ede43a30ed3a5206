#ifndef HETERO_TENSOR_OPS_NORM_NORM_FORWARD_HELD_CUH_
#define HETERO_TENSOR_OPS_NORM_NORM_FORWARD_HELD_CUH_

// Normalises rows that a block holds, kRows at once while the next ones are on their way.

#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"
#include "hetero/tensor/ops/norm/norm_held.cuh"
#include "hetero/tensor/ops/norm/norm_operands.cuh"

namespace hetero::internal {

inline constexpr int64_t kRowsOfForwardBlock = 8;

template <typename T, int kVectors, int kRows, bool kCentered>
__global__ __launch_bounds__(kMaxHeldThreads, kVectors == 4 ? 1 : 2) void NormForwardHeldKernel(
    NormForwardOperands<T> op) {
  using Row = HeldRow<T, kVectors>;
  constexpr int kWidth = Row::kWidth;
  __shared__ typename BlockSums<kRows>::Shared of_warp;
  BlockSums<kRows> block_sums(of_warp);
  const float scale = 1.0f / static_cast<float>(op.columns);
  const int64_t begin = blockIdx.x * kRowsOfForwardBlock;
  const int64_t end = min(begin + kRowsOfForwardBlock, op.rows);
  Row weight, bias, next[kRows], next_residual[kRows];
  weight.Load(op.weight, op.columns);
  if constexpr (kCentered) bias.Load(op.bias, op.columns);
  const auto load = [&](int64_t t) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const bool exists = t + r < end;
      next[r].Load(exists ? op.x[t + r] : nullptr, op.columns);
      if (!op.residual.is_null()) {
        next_residual[r].Load(exists ? op.residual[t + r] : nullptr, op.columns);
      }
    }
  };
  load(begin);
  for (int64_t t = begin; t < end; t += kRows) {
    float x[kRows][kVectors][kWidth], sums[kRows] = {}, mean[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        cuda::ToFloats(next[r].vectors[v], x[r][v]);
        if (!op.residual.is_null()) {
          float residual[kWidth];
          cuda::ToFloats(next_residual[r].vectors[v], residual);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) residual[i] += x[r][v][i];
          const auto sum = cuda::FromFloats<T>(residual);
          cuda::ToFloats(sum, x[r][v]);
          if (t + r < end && Row::Column(v) < op.columns) {
            cuda::StoreVector(sum, op.sum[t + r] + Row::Column(v));
          }
        }
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          sums[r] += kCentered ? x[r][v][i] : x[r][v][i] * x[r][v][i];
        }
      }
    }
    load(t + kRows);
    block_sums(sums);
    if constexpr (kCentered) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        mean[r] = sums[r] * scale;
        sums[r] = 0;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          if (Row::Column(v) >= op.columns) break;
#pragma unroll
          for (int i = 0; i < kWidth; ++i) {
            sums[r] += (x[r][v][i] - mean[r]) * (x[r][v][i] - mean[r]);
          }
        }
      }
      block_sums(sums);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (t + r >= end) break;
      const float rstd = 1.0f / sqrtf(sums[r] * scale + op.epsilon);
      if (threadIdx.x == 0) {
        op.rstd[t + r] = rstd;
        if constexpr (kCentered) op.mean[t + r] = mean[r];
      }
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (Row::Column(v) >= op.columns) break;
        float factor[kWidth], shift[kWidth] = {};
        cuda::ToFloats(weight.vectors[v], factor);
        if constexpr (kCentered) cuda::ToFloats(bias.vectors[v], shift);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          x[r][v][i] = (x[r][v][i] - mean[r]) * rstd * factor[i] + shift[i];
        }
        cuda::StoreFloats(x[r][v], op.y[t + r] + Row::Column(v));
      }
    }
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_NORM_NORM_FORWARD_HELD_CUH_
