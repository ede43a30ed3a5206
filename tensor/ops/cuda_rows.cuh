#ifndef HETERO_TENSOR_OPS_CUDA_ROWS_CUH_
#define HETERO_TENSOR_OPS_CUDA_ROWS_CUH_

// Matrices as CUDA kernels see them: rows shared by the threads of a warp or of a block, and sums
// over rows.

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero::cuda {

// Rows of contiguous elements; null where an operand is absent.
template <typename T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;

  __device__ T* operator[](int64_t row) const { return data + row * stride; }
  __host__ __device__ bool is_null() const { return data == nullptr; }
};

template <typename T>
Rows<const T> RowsOf(const ConstTensorView& view) {
  return view.is_null() ? Rows<const T>{} : Rows<const T>{view.data<T>(), view.stride(0)};
}
template <typename T>
Rows<T> RowsOf(const TensorView& view) {
  return view.is_null() ? Rows<T>{} : Rows<T>{view.data<T>(), view.stride(0)};
}

template <typename T>
const T* DataOrNull(const ConstTensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}
template <typename T>
T* DataOrNull(const TensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}

// Calls `function.template operator()<kWidth>()` with the elements of T in a full access, or with 1
// where a view does not allow vectors. `columns` are what a row is cut into.
template <typename T, typename Function>
absl::Status VisitWidth(int64_t columns, std::initializer_list<ConstTensorView> views,
                        Function&& function) {
  constexpr int kWidth = kFullWidth<T>;
  return columns % kWidth == 0 && AllowVectors(views, kWidth)
             ? function.template operator()<kWidth>()
             : function.template operator()<1>();
}

// Threads of a block whose rows are worked on by kLanes neighbouring threads each.
inline constexpr int kRowThreads = 256;

template <int kLanes>
inline constexpr int kRowsAtOnce = kRowThreads / kLanes;

// Calls `function.template operator()<kLanes>()`: a warp for a row, a block for a long one.
template <typename Function>
absl::Status VisitLanes(int64_t vectors_per_row, Function&& function) {
  constexpr int64_t kVectorsPerLane = 4;
  return vectors_per_row > kVectorsPerLane * kWarpSize ? function.template operator()<kRowThreads>()
                                                       : function.template operator()<kWarpSize>();
}

// Over the kLanes threads of a row; all of the block's threads call it where that is a block.
template <int kLanes>
__device__ inline float RowSum(float value) {
  static_assert(kLanes == kWarpSize || kLanes == kRowThreads);
  if constexpr (kLanes == kWarpSize) {
    return WarpSum(value);
  } else {
    return BlockSum<kRowThreads>(value);
  }
}

inline constexpr int kFoldLanes = 8;  // parts that are read at once

// *place(c) = or += Σ_p partials[p, c], in an order that num_parts fixes. A null place is skipped.
template <typename Place>
__global__ __launch_bounds__(kWarpSize* kFoldLanes) void FoldPartsKernel(const float* partials_PC,
                                                                         int64_t num_parts,
                                                                         int64_t num_columns,
                                                                         bool accumulate,
                                                                         Place place) {
  __shared__ float of_lane[kFoldLanes][kWarpSize];
  const int64_t c = int64_t{blockIdx.x} * kWarpSize + threadIdx.x;
  float sum = 0;
  if (c < num_columns) {
#pragma unroll 4
    for (int64_t p = threadIdx.y; p < num_parts; p += kFoldLanes) {
      sum += partials_PC[p * num_columns + c];
    }
  }
  of_lane[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= num_columns) return;
  float* const to = place(c);
  if (to == nullptr) return;
  for (int lane = 1; lane < kFoldLanes; ++lane) sum += of_lane[lane][threadIdx.x];
  *to = accumulate ? *to + sum : sum;
}

struct DensePlace {
  float* out;
  __device__ float* operator()(int64_t c) const { return out + c; }
};

// Precondition: partials are dense f32 [parts, columns].
template <typename Place>
absl::Status FoldParts(const ConstTensorView& partials_PC, bool accumulate, Place place,
                       hetero::Stream& stream) {
  const int64_t num_columns = partials_PC.dim(1);
  const LaunchShape shape = {.grid = NumBlocks(num_columns, kWarpSize),
                             .block = {kWarpSize, kFoldLanes}};
  return HETERO_CUDA_LAUNCH(FoldPartsKernel<Place>, shape, stream, partials_PC.data<float>(),
                            partials_PC.dim(0), num_columns, accumulate, place);
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_ROWS_CUH_
