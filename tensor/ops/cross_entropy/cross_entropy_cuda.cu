#include <cstdint>
#include <limits>

#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"

namespace hetero::internal {
namespace {

using cuda::Rows;

// Vectors that a thread loads before it uses the first.
constexpr int kUnroll = 4;

template <typename T>
struct Logits {
  Rows<T> rows;
  int64_t columns;
  int64_t first_column = 0;

  // Calls visit(column, values) for the thread's vectors of row t; what it does to the values is
  // stored where `stores`. The last vector of a row may be short: the values that it lacks are
  // -inf.
  template <int kWidth, int kThreads, bool kStores, typename Visit>
  __device__ void ForEach(int64_t t, Visit visit) const {
    constexpr int64_t kStep = kThreads * kWidth;
    for (int64_t first = threadIdx.x * kWidth; first < columns; first += kUnroll * kStep) {
      float value[kUnroll][kWidth];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t column = first + u * kStep;
        if (column + kWidth <= columns) {
          cuda::Load(rows[t] + column, value[u]);
        } else {
#pragma unroll
          for (int i = 0; i < kWidth; ++i) {
            value[u][i] = column + i < columns ? cuda::ToFloat(rows[t][column + i]) : -INFINITY;
          }
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t column = first + u * kStep;
        if (column >= columns) break;
        visit(column, value[u]);
        if constexpr (kStores) {
          if (column + kWidth <= columns) {
            cuda::Store(value[u], rows[t] + column);
          } else {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) {
              if (column + i < columns) rows[t][column + i] = cuda::FromFloat<T>(value[u][i]);
            }
          }
        }
      }
    }
  }

  // Whether the row's target is a column held here, and which.
  __device__ bool Holds(int32_t target, int64_t* column) const {
    *column = target - first_column;
    return *column >= 0 && *column < columns;
  }
};

struct Largest {
  float value = -INFINITY;
  int32_t column = std::numeric_limits<int32_t>::max();

  __device__ void Take(float other_value, int32_t other_column) {
    if (other_value > value || (other_value == value && other_column < column)) {
      value = other_value;
      column = other_column;
    }
  }
};

// The lowest column that a thread of the block names. Every thread gets it.
template <int kThreads>
__device__ int32_t BlockFirst(int32_t column) {
  return cuda::BlockReduce<kThreads>(column, std::numeric_limits<int32_t>::max(),
                                     [](int32_t a, int32_t b) { return min(a, b); });
}

// Of the block's threads; the lowest of equal columns. Every thread gets it.
template <int kThreads>
__device__ Largest BlockLargest(Largest mine) {
  Largest result;
  result.value = cuda::BlockMaximum<kThreads>(mine.value);
  result.column = BlockFirst<kThreads>(
      mine.value == result.value ? mine.column : std::numeric_limits<int32_t>::max());
  return result;
}

// A block a row. The maximum and the sum of exponentials come from one pass: a thread scales its
// sum again when it meets a larger logit. The gradient is a second pass, over a row that the
// second-level cache still holds.
template <typename T, int kWidth, int kThreads>
__global__ __launch_bounds__(kThreads) void CrossEntropyKernel(Logits<T> logits,
                                                               const int32_t* targets,
                                                               const float* weights, float* loss,
                                                               int32_t* argmax) {
  const int64_t t = blockIdx.x;
  int64_t target;
  const bool held = logits.Holds(targets[t], &target);
  const float target_logit = held ? cuda::ToFloat(logits.rows[t][target]) : 0.0f;

  Largest mine;
  float sum = 0;
  logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t column, float(&x)[kWidth]) {
    const float before = mine.value;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) mine.Take(x[i], static_cast<int32_t>(column + i));
    // Nothing but -inf so far: the difference would be NaN.
    if (mine.value == -INFINITY) return;
    if (mine.value > before) sum *= expf(before - mine.value);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += expf(x[i] - mine.value);
  });
  const Largest largest = BlockLargest<kThreads>(mine);
  sum = cuda::BlockSum<kThreads>(mine.value == -INFINITY ? 0.0f
                                                         : sum * expf(mine.value - largest.value));
  if (threadIdx.x == 0) {
    loss[t] = logf(sum) - (held ? target_logit - largest.value : 0.0f);
    if (argmax != nullptr) argmax[t] = largest.column;
  }
  if (weights == nullptr) return;
  const float weight = weights[t];
  const float factor = weight / sum;
  logits.template ForEach<kWidth, kThreads, true>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      x[i] = expf(x[i] - largest.value) * factor - (held && column + i == target ? weight : 0.0f);
    }
  });
}

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
  int32_t first = std::numeric_limits<int32_t>::max();
  logits.template ForEach<kWidth, kThreads, false>(t, [&](int64_t column, float(&x)[kWidth]) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      sum += expf(x[i] - maximum);
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
      x[i] = expf(x[i] - maximum) * factor - (held && column + i == target ? weight : 0.0f);
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

// Calls `function.template operator()<T, kWidth, kThreads>()`: a block small enough for a short row
// and, for a long one, so large that few rows share the second-level cache.
template <typename Function>
absl::Status Visit(const ConstTensorView& logits_TV, Function&& function) {
  return cuda::VisitFloat(logits_TV.dtype(), [&]<typename T>() {
    const int64_t columns = logits_TV.dim(1);
    // The last vector of a row may be short: the others decide.
    const int64_t whole = columns - columns % cuda::kFullWidth<T>;
    return cuda::VisitWidth<T>(whole, {logits_TV.Columns(0, whole)}, [&]<int kWidth>() {
      return columns > 4096 ? function.template operator()<T, kWidth, 1024>()
                            : function.template operator()<T, kWidth, 128>();
    });
  });
}

cuda::LaunchShape BlockARow(const ConstTensorView& logits_TV, int threads) {
  return {.grid = static_cast<unsigned>(logits_TV.dim(0)), .block = static_cast<unsigned>(threads)};
}

}  // namespace

absl::Status CrossEntropyCuda(const CrossEntropyArgs& args, Stream& stream) {
  return Visit(args.logits_TV, [&]<typename T, int kWidth, int kThreads>() {
    return HETERO_CUDA_LAUNCH(
        (CrossEntropyKernel<T, kWidth, kThreads>), BlockARow(args.logits_TV, kThreads), stream,
        (Logits<T>{cuda::RowsOf<T>(args.logits_TV), args.logits_TV.dim(1)}),
        args.targets_T.data<int32_t>(), cuda::DataOrNull<float>(args.weight_T),
        args.loss_T.data<float>(), cuda::DataOrNull<int32_t>(args.argmax_T));
  });
}

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
