#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/ops/layer_scale/layer_scale.h"
#include "hetero/tensor/ops/row_parts.h"

namespace hetero::internal {
namespace {

using cuda::Rows;

constexpr int kRows = 8;  // at once, of kWarpSize vectors

template <typename T>
struct LayerScaleOperands {
  int64_t rows, channels, rows_per_part;
  Rows<const T> x;
  Rows<const T> addend;  // the residual, or dy
  const T* scale;
  Rows<T> out;          // y, or dx
  float* dscale_parts;  // [parts, channels]
};

// A thread owns one vector of channels of its part's rows.
template <typename T, int kWidth, bool kBackward>
__global__ __launch_bounds__(cuda::kWarpSize* kRows) void LayerScaleKernel(
    LayerScaleOperands<T> op) {
  const int64_t c = (int64_t{blockIdx.x} * cuda::kWarpSize + threadIdx.x) * kWidth;
  const bool inside = c < op.channels;
  float sum[kWidth] = {};
  if (inside) {
    float scale[kWidth];
    cuda::Load(op.scale + c, scale);
    const int64_t begin = blockIdx.y * op.rows_per_part;
    const int64_t end = min(begin + op.rows_per_part, op.rows);
#pragma unroll 2
    for (int64_t t = begin + threadIdx.y; t < end; t += kRows) {
      float x[kWidth], addend[kWidth];
      cuda::Load(op.x[t] + c, x);
      cuda::Load(op.addend[t] + c, addend);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        if constexpr (kBackward) {
          sum[i] += addend[i] * x[i];
          x[i] = addend[i] * scale[i];
        } else {
          x[i] = addend[i] + scale[i] * x[i];
        }
      }
      cuda::Store(x, op.out[t] + c);
    }
  }
  if constexpr (kBackward) {
    if (op.dscale_parts == nullptr) return;
    __shared__ float of_row[kRows][cuda::kWarpSize * kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) of_row[threadIdx.y][threadIdx.x * kWidth + i] = sum[i];
    __syncthreads();
    if (threadIdx.y != 0 || !inside) return;
    for (int row = 1; row < kRows; ++row) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += of_row[row][threadIdx.x * kWidth + i];
    }
    cuda::Store(sum, op.dscale_parts + blockIdx.y * op.channels + c);
  }
}

template <bool kBackward>
absl::Status Launch(const ConstTensorView& x_TC, const ConstTensorView& addend_TC,
                    const ConstTensorView& scale_C, const TensorView& out_TC,
                    const TensorView& partials_PC, Stream& stream) {
  const RowParts parts(x_TC.dim(0));
  return cuda::VisitFloat(x_TC.dtype(), [&]<typename T>() {
    const LayerScaleOperands<T> op{.rows = x_TC.dim(0),
                                   .channels = x_TC.dim(1),
                                   .rows_per_part = parts.rows_per_part,
                                   .x = cuda::RowsOf<T>(x_TC),
                                   .addend = cuda::RowsOf<T>(addend_TC),
                                   .scale = scale_C.data<T>(),
                                   .out = cuda::RowsOf<T>(out_TC),
                                   .dscale_parts = cuda::DataOrNull<float>(partials_PC)};
    return cuda::VisitWidth<T>(op.channels, {x_TC, addend_TC, scale_C, out_TC}, [&]<int kWidth>() {
      const cuda::LaunchShape shape = {
          .grid = {cuda::NumBlocks(op.channels, cuda::kWarpSize * kWidth),
                   static_cast<unsigned>(parts.count)},
          .block = {cuda::kWarpSize, kRows}};
      return HETERO_CUDA_LAUNCH((LayerScaleKernel<T, kWidth, kBackward>), shape, stream, op);
    });
  });
}

}  // namespace

absl::Status LayerScaleForwardCuda(const LayerScaleForwardArgs& args, Stream& stream) {
  return Launch<false>(args.x_TC, args.residual_TC, args.scale_C, args.y_TC, {}, stream);
}

absl::Status LayerScaleBackwardCuda(const LayerScaleBackwardArgs& args,
                                    const TensorView& partials_PC, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      Launch<true>(args.x_TC, args.dy_TC, args.scale_C, args.dx_TC, partials_PC, stream));
  if (args.dscale_C.is_null()) return absl::OkStatus();
  return cuda::FoldParts(partials_PC, args.accumulate,
                         cuda::DensePlace{args.dscale_C.data<float>()}, stream);
}

}  // namespace hetero::internal
