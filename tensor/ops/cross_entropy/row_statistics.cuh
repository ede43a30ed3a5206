#ifndef HETERO_TENSOR_OPS_CROSS_ENTROPY_ROW_STATISTICS_CUH_
#define HETERO_TENSOR_OPS_CROSS_ENTROPY_ROW_STATISTICS_CUH_

// The maximum of logits and the sum of their exponentials, of which a part may
// be known before the maximum of the whole row is.

#include <cstdint>
#include <limits>

#include "hetero/tensor/ops/cuda_fast_math.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"

namespace hetero::internal {

inline constexpr int32_t kNoColumn = std::numeric_limits<int32_t>::max();

// What is subtracted from base-two logarithms: a whole number, so that x
// log2(e) - shift is rounded once. 0 where there is no logit above -inf: the
// difference of two infinities would be NaN.
__device__ inline float ShiftOf(float maximum) {
  return maximum == -INFINITY ? 0.0f : rintf(maximum * cuda::kLog2E);
}

__device__ inline float Exponential(float x, float shift) {
  return cuda::Exp2(fmaf(x, cuda::kLog2E, -shift));
}

// exp(x - maximum), the difference as it is rounded to f32.
__device__ inline float ExponentialBelow(float x, float maximum) {
  return cuda::Exp2((x - maximum) * cuda::kLog2E);
}

// sum = Σ 2^(x log2(e) - ShiftOf(maximum)). A NaN among the logits is no
// maximum, but makes the sum NaN.
struct RowStatistics {
  float maximum;
  float sum;

  // Of no logits.
  static __device__ RowStatistics Empty() { return {-INFINITY, 0}; }

  // The share of a part's sum in one whose maximum is at least as large.
  __device__ float SumBelow(float larger) const {
    return maximum == -INFINITY ? sum : sum * cuda::Exp2(ShiftOf(maximum) - ShiftOf(larger));
  }
};

// Of the lanes of a warp. Every lane gets them.
__device__ inline RowStatistics WarpStatistics(const RowStatistics& mine) {
  RowStatistics all = {cuda::WarpMaximum(mine.maximum), 0};
  all.sum = cuda::WarpSum(mine.SumBelow(all.maximum));
  return all;
}

// log Σ exp(x - M) - (y - M), with y = M where the target is not held. One
// thread does it for a row: f64 costs nothing, and the shift differs from M
// log2(e) by less than a whole.
__device__ inline float LossOf(const RowStatistics& row, bool held, float target_logit) {
  constexpr double kLn2 = 0.693147180559945309417;
  const float beyond =
      static_cast<float>(static_cast<double>(ShiftOf(row.maximum)) * kLn2 - row.maximum);
  return (logf(row.sum) + beyond) - (held ? target_logit - row.maximum : 0.0f);
}

__device__ inline int32_t WarpFirst(int32_t column) {
  return cuda::WarpReduce(column, [](int32_t a, int32_t b) { return min(a, b); });
}

// The lowest column that a thread of the block names. Every thread gets it.
template <int kThreads>
__device__ int32_t BlockFirst(int32_t column) {
  return cuda::BlockReduce<kThreads>(column, kNoColumn,
                                     [](int32_t a, int32_t b) { return min(a, b); });
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_CROSS_ENTROPY_ROW_STATISTICS_CUH_
