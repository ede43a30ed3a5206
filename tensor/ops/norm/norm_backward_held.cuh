#ifndef HETERO_TENSOR_OPS_NORM_NORM_BACKWARD_HELD_CUH_
#define HETERO_TENSOR_OPS_NORM_NORM_BACKWARD_HELD_CUH_

// Gradients of rows that a block holds, one at once while the next ones are on their way to shared
// memory.

#include <cuda_pipeline.h>

#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_packed.cuh"
#include "hetero/tensor/ops/norm/norm_held.cuh"
#include "hetero/tensor/ops/norm/norm_operands.cuh"

namespace hetero::internal {

// What backward reads of a row.
template <typename T, int kVectors>
struct HeldGradient {
  HeldRow<T, kVectors> dy, x, dsum;
  float mean, rstd;
};

// The rows of a block on their way to shared memory, kStages at a time. A thread reads what it
// copied itself, so nothing but its own copies has to be waited for.
template <typename T, int kVectors, bool kCentered>
class GradientRing {
  using Row = HeldRow<T, kVectors>;
  using Slot = cuda::Vector<T, Row::kWidth>;

 public:
  static constexpr int kStages = kVectors == 1 ? 4 : 2;

  static size_t SharedBytes(unsigned threads) {
    return sizeof(Slot) * 3 * kVectors * kStages * threads + sizeof(typename BlockSums<2>::Shared);
  }

  __device__ GradientRing(const NormBackwardOperands<T>& op, void* shared, int64_t begin,
                          int64_t end)
      : op_(op), slots_(reinterpret_cast<Slot*>(shared) + threadIdx.x), next_(begin), end_(end) {
    for (int stage = 0; stage < kStages; ++stage) Fetch(stage);
    LoadStatistics(begin);
  }

  // For row t, one after another.
  __device__ HeldGradient<T, kVectors> Take(int64_t t) {
    __pipeline_wait_prior(kStages - 1);
    HeldGradient<T, kVectors> row = {.mean = mean_, .rstd = rstd_};
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      row.dy.vectors[v] = *SlotOf(stage_, 0, v);
      row.x.vectors[v] = *SlotOf(stage_, 1, v);
      if (!op_.dsum.is_null()) row.dsum.vectors[v] = *SlotOf(stage_, 2, v);
    }
    LoadStatistics(t + 1);
    Fetch(stage_);
    stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
    return row;
  }

 private:
  __device__ Slot* SlotOf(int stage, int array, int v) const {
    return slots_ + ((stage * 3 + array) * kVectors + v) * static_cast<int>(blockDim.x);
  }

  __device__ void Fetch(int stage) {
    if (next_ < end_) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int column = Row::Column(v);
        if (column >= op_.columns) break;
        __pipeline_memcpy_async(SlotOf(stage, 0, v), op_.dy[next_] + column, sizeof(Slot));
        __pipeline_memcpy_async(SlotOf(stage, 1, v), op_.x[next_] + column, sizeof(Slot));
        if (op_.dsum.is_null()) continue;
        __pipeline_memcpy_async(SlotOf(stage, 2, v), op_.dsum[next_] + column, sizeof(Slot));
      }
    }
    __pipeline_commit();
    ++next_;
  }

  __device__ void LoadStatistics(int64_t t) {
    if (t >= end_) return;
    rstd_ = op_.rstd[t];
    if constexpr (kCentered) mean_ = op_.mean[t];
  }

  const NormBackwardOperands<T>& op_;
  Slot* slots_;
  int64_t next_, end_;
  int stage_ = 0;
  float mean_ = 0;
  float rstd_ = 0;
};

// Writes dx of vector v from x_hat and g = weight dy, given the means of g and of g x_hat.
template <typename T, int kVectors, int kWidth>
__device__ inline void StoreInputGradient(const NormBackwardOperands<T>& op,
                                          const HeldGradient<T, kVectors>& row, int64_t t, int v,
                                          const float (&weight)[kWidth], float mean_g,
                                          float mean_gx) {
  const int column = HeldRow<T, kVectors>::Column(v);
  float dy[kWidth], x[kWidth];
  cuda::ToFloats(row.dy.vectors[v], dy);
  cuda::ToFloats(row.x.vectors[v], x);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float x_hat = (x[i] - row.mean) * row.rstd;
    dy[i] = row.rstd * (weight[i] * dy[i] - mean_g - x_hat * mean_gx);
  }
  if (!op.dsum.is_null()) {
    float dsum[kWidth];
    cuda::ToFloats(row.dsum.vectors[v], dsum);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dy[i] += dsum[i];
  }
  cuda::StoreFloats(dy, op.dx[t] + column);
}

template <typename T, int kVectors, bool kCentered>
__global__ __launch_bounds__(kMaxHeldThreads,
                             kVectors == 4 ? 1
                             : kVectors == 2 && kCentered
                                 ? 2
                                 : 3) void NormBackwardHeldKernel(NormBackwardOperands<T> op) {
  using Row = HeldRow<T, kVectors>;
  constexpr int kWidth = Row::kWidth;
  using Sums = typename BlockSums<2>::Shared;
  extern __shared__ __align__(16) unsigned char shared[];
  BlockSums<2> block_sums(*reinterpret_cast<Sums*>(shared));
  const float scale = 1.0f / static_cast<float>(op.columns);
  const int64_t begin = blockIdx.x * op.rows_per_part;
  const int64_t end = min(begin + op.rows_per_part, op.rows);
  GradientRing<T, kVectors, kCentered> ring(op, shared + sizeof(Sums), begin, end);
  Row weight;
  weight.Load(op.weight, op.columns);
  float dweight[kVectors][kWidth] = {}, dbias[kVectors][kWidth] = {};
  for (int64_t t = begin; t < end; ++t) {
    const HeldGradient<T, kVectors> row = ring.Take(t);
    float sums[2] = {};
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (Row::Column(v) >= op.columns) break;
      float dy[kWidth], x[kWidth], factor[kWidth];
      cuda::ToFloats(row.dy.vectors[v], dy);
      cuda::ToFloats(row.x.vectors[v], x);
      cuda::ToFloats(weight.vectors[v], factor);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float x_hat = (x[i] - row.mean) * row.rstd;
        const float g = factor[i] * dy[i];
        if constexpr (kCentered) {
          sums[0] += g;
          dbias[v][i] += dy[i];
        }
        sums[1] += g * x_hat;
        dweight[v][i] += dy[i] * x_hat;
      }
    }
    if (op.dx.is_null()) continue;
    block_sums(sums);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (Row::Column(v) >= op.columns) break;
      float factor[kWidth];
      cuda::ToFloats(weight.vectors[v], factor);
      StoreInputGradient(op, row, t, v, factor, sums[0] * scale, sums[1] * scale);
    }
  }
  if (op.dweight_parts == nullptr) return;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (Row::Column(v) >= op.columns) break;
    const int64_t at = blockIdx.x * op.columns + Row::Column(v);
    cuda::Store(dweight[v], op.dweight_parts + at);
    if constexpr (kCentered) cuda::Store(dbias[v], op.dbias_parts + at);
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_NORM_NORM_BACKWARD_HELD_CUH_
