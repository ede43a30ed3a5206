#include <cstdint>

#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy_rows.cuh"
#include "hetero/tensor/ops/cross_entropy/row_statistics.cuh"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {
namespace {

template <typename T, int kWidth, int kThreads>
__global__ __launch_bounds__(kThreads) void MaximumKernel(Logits<const T> logits, float* max) {
  const int64_t t = blockIdx.x;
  float maximum = -INFINITY;
  logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) maximum = fmaxf(maximum, x[i]);
  });
  maximum = cuda::BlockMaximum<kThreads>(maximum);
  if (threadIdx.x == 0) max[t] = maximum;
}

template <typename T, int kWidth, int kThreads>
__global__ __launch_bounds__(kThreads) void SumsKernel(Logits<const T> logits,
                                                       const int32_t* targets, const float* max,
                                                       float* target_logits, float* exponentials,
                                                       int32_t* argmax) {
  const int64_t t = blockIdx.x;
  const float maximum = max[t];
  float sum = 0;
  int32_t first = kNoColumn;
  logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      sum += ExponentialBelow(x[i], maximum);
      if (x[i] == maximum) {
        first = min(first, static_cast<int32_t>(logits.first_column + column + i));
      }
    }
  });
  sum = cuda::BlockSum<kThreads>(sum);
  if (argmax != nullptr) first = BlockFirst<kThreads>(first);
  if (threadIdx.x != 0) return;
  if (argmax != nullptr) argmax[t] = first;
  int64_t target;
  target_logits[t] =
      logits.Holds(targets[t], &target) ? cuda::ToFloat(logits.rows[t][target]) - maximum : 0.0f;
  exponentials[t] = sum;
}

template <typename T, int kWidth, int kThreads>
__global__ __launch_bounds__(kThreads) void GradientKernel(Logits<T> logits, const int32_t* targets,
                                                           const float* max,
                                                           const float* exponentials,
                                                           const float* weights) {
  const int64_t t = blockIdx.x;
  const float maximum = max[t];
  const float weight = weights[t];
  const float factor = weight / exponentials[t];
  int64_t target;
  const bool held = logits.Holds(targets[t], &target);
  logits.template ForEach<kWidth, kThreads, true>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      x[i] =
          ExponentialBelow(x[i], maximum) * factor - (held && column + i == target ? weight : 0.0f);
    }
  });
}

constexpr int kVectorThreads = 256;

__global__ __launch_bounds__(kVectorThreads) void LossKernel(const float* target_logits,
                                                             const float* exponentials, float* loss,
                                                             int64_t num_rows) {
  const int64_t t = int64_t{blockIdx.x} * kVectorThreads + threadIdx.x;
  if (t < num_rows) loss[t] = logf(exponentials[t]) - target_logits[t];
}

constexpr int kTotalThreads = 1024;

__global__ __launch_bounds__(kTotalThreads) void AddWeightedLossKernel(const float* loss,
                                                                       const float* weight,
                                                                       int64_t num_rows,
                                                                       double* totals) {
  double loss_sum = 0;
  double weight_sum = 0;
#pragma unroll 4
  for (int64_t t = threadIdx.x; t < num_rows; t += kTotalThreads) {
    loss_sum += static_cast<double>(loss[t]) * static_cast<double>(weight[t]);
    weight_sum += static_cast<double>(weight[t]);
  }
  loss_sum = cuda::BlockSum<kTotalThreads>(loss_sum);
  weight_sum = cuda::BlockSum<kTotalThreads>(weight_sum);
  if (threadIdx.x != 0) return;
  totals[0] += loss_sum;
  totals[1] += weight_sum;
}

// Calls `function.template operator()<T, kWidth, kThreads>()`: a block small
// enough for a short row and, for a long one, so large that few rows share the
// second-level cache.
template <typename Function>
absl::Status Visit(const ConstTensorView& logits_TV, Function&& function) {
  return VisitLogits(logits_TV, [&]<typename T, int kWidth>() {
    return logits_TV.dim(1) > 4096 ? function.template operator()<T, kWidth, 1024>()
                                   : function.template operator()<T, kWidth, 128>();
  });
}

cuda::LaunchShape BlockARow(const ConstTensorView& logits_TV, int threads) {
  return {.grid = static_cast<unsigned>(logits_TV.dim(0)), .block = static_cast<unsigned>(threads)};
}

}  // namespace

absl::Status CrossEntropyMaximumCuda(const ConstTensorView& logits_TV, const TensorView& max_T,
                                     Stream& stream) {
  return Visit(logits_TV, [&]<typename T, int kWidth, int kThreads>() {
    return HETERO_CUDA_LAUNCH(
        (MaximumKernel<T, kWidth, kThreads>), BlockARow(logits_TV, kThreads), stream,
        (Logits<const T>{cuda::RowsOf<T>(logits_TV), logits_TV.dim(1)}), max_T.data<float>());
  });
}

absl::Status CrossEntropySumsCuda(const CrossEntropySumsArgs& args, Stream& stream) {
  const ConstTensorView& logits_TV = args.logits_TV;
  return Visit(logits_TV, [&]<typename T, int kWidth, int kThreads>() {
    float* const sums = args.sums_2T.data<float>();
    return HETERO_CUDA_LAUNCH(
        (SumsKernel<T, kWidth, kThreads>), BlockARow(logits_TV, kThreads), stream,
        (Logits<const T>{cuda::RowsOf<T>(logits_TV), logits_TV.dim(1), args.first_column}),
        args.targets_T.data<int32_t>(), args.max_T.data<float>(), sums, sums + args.sums_2T.dim(1),
        cuda::DataOrNull<int32_t>(args.argmax_T));
  });
}

absl::Status CrossEntropyLossCuda(const ConstTensorView& sums_2T, const TensorView& loss_T,
                                  Stream& stream) {
  const int64_t num_rows = sums_2T.dim(1);
  const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_rows, kVectorThreads),
                                   .block = kVectorThreads};
  return HETERO_CUDA_LAUNCH(LossKernel, shape, stream, sums_2T.data<float>(),
                            sums_2T.data<float>() + num_rows, loss_T.data<float>(), num_rows);
}

absl::Status CrossEntropyGradientCuda(const TensorView& logits_TV, int64_t first_column,
                                      const ConstTensorView& targets_T,
                                      const ConstTensorView& max_T, const ConstTensorView& sums_2T,
                                      const ConstTensorView& weight_T, Stream& stream) {
  return Visit(logits_TV, [&]<typename T, int kWidth, int kThreads>() {
    return HETERO_CUDA_LAUNCH(
        (GradientKernel<T, kWidth, kThreads>), BlockARow(logits_TV, kThreads), stream,
        (Logits<T>{cuda::RowsOf<T>(logits_TV), logits_TV.dim(1), first_column}),
        targets_T.data<int32_t>(), max_T.data<float>(), sums_2T.data<float>() + sums_2T.dim(1),
        weight_T.data<float>());
  });
}

absl::Status AddWeightedLossCuda(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                                 const TensorView& totals_2, Stream& stream) {
  const cuda::LaunchShape shape = {.grid = 1, .block = kTotalThreads};
  return HETERO_CUDA_LAUNCH(AddWeightedLossKernel, shape, stream, loss_T.data<float>(),
                            weight_T.data<float>(), loss_T.dim(0), totals_2.data<double>());
}

}  // namespace hetero::internal
