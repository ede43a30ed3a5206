#ifndef HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_ROWS_CUH_
#define HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_ROWS_CUH_

// Rows of logits that the threads of a block walk over.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/view.h"

namespace hetero::internal {

template <typename T>
struct Logits {
  cuda::Rows<T> rows;
  int64_t columns;
  int64_t first_column = 0;

  // Calls visit(column, values) for the thread's vectors of row t; what it does
  // to the values is stored where `stores`. The last vector of a row may be
  // short: the values that it lacks are -inf. Four vectors are loaded before
  // the first is used.
  template <int kWidth, int kThreads, bool kStores, typename Visit>
  __device__ void ForEach(int64_t t, Visit visit) const {
    constexpr int kUnroll = 4;
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

// Calls `function.template operator()<T, kWidth>()`. The last vector of a row
// may be short: the others decide whether vectors are used.
template <typename Function>
absl::Status VisitLogits(const ConstTensorView& logits_TV, Function&& function) {
  return cuda::VisitFloat(logits_TV.dtype(), [&]<typename T>() {
    const int64_t whole = logits_TV.dim(1) - logits_TV.dim(1) % cuda::kFullWidth<T>;
    return cuda::VisitWidth<T>(whole, {logits_TV.Columns(0, whole)}, [&]<int kWidth>() {
      return function.template operator()<T, kWidth>();
    });
  });
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_CROSS_ENTROPY_CROSS_ENTROPY_ROWS_CUH_
