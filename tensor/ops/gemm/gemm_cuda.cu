#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/gemm/matmul_cuda.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / cuda::kWarpSize;

// y[t, :] = bias + beta added[t, :]; a null bias is zero, `added` is not read where beta is 0.
template <typename T>
__global__ __launch_bounds__(kThreads) void AddBiasKernel(const T* bias, float beta, const T* added,
                                                          int64_t added_stride, T* y,
                                                          int64_t stride, int64_t columns,
                                                          int64_t num_elements) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= num_elements) return;
  const int64_t row = i / columns, column = i % columns;
  float sum = bias == nullptr ? 0.0f : cuda::ToFloat(bias[column]);
  if (beta != 0.0f) sum += beta * cuda::ToFloat(added[row * added_stride + column]);
  y[row * stride + column] = cuda::FromFloat<T>(sum);
}

// sums[part, column] = Σ x over the rows of the part. A warp takes every kWarps-th row of kWidth
// columns a lane; the warps' sums are added in their order.
template <int kWidth, typename T>
__global__ __launch_bounds__(kThreads) void SumRowsKernel(const T* x, int64_t stride, int64_t rows,
                                                          int64_t columns, int64_t rows_per_part,
                                                          bool accumulate, float* sums) {
  constexpr int kTile = cuda::kWarpSize * kWidth;
  __shared__ float of_warp[kWarps][kTile];
  const int warp = threadIdx.x / cuda::kWarpSize;
  const int lane = threadIdx.x % cuda::kWarpSize;
  const int64_t column = int64_t{blockIdx.x} * kTile + lane * kWidth;
  const int64_t begin = blockIdx.y * rows_per_part;
  const int64_t end = min(begin + rows_per_part, rows);
  float sum[kWidth] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = begin + warp; row < end; row += kWarps) {
      float values[kWidth];
      cuda::Load(x + row * stride + column, values);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] += values[j];
    }
  }
#pragma unroll
  for (int j = 0; j < kWidth; ++j) of_warp[warp][lane * kWidth + j] = sum[j];
  __syncthreads();
  for (int c = threadIdx.x; c < kTile; c += kThreads) {
    const int64_t at = int64_t{blockIdx.x} * kTile + c;
    if (at >= columns) continue;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += of_warp[w][c];
    float& out = sums[blockIdx.y * columns + at];
    out = accumulate ? out + total : total;
  }
}

template <typename T>
absl::Status SumRows(const ConstTensorView& x, int64_t rows_per_part, bool accumulate,
                     const TensorView& sums, Stream& stream) {
  const int64_t rows = x.dim(0);
  const int64_t columns = x.dim(1);
  const auto launch = [&]<int kWidth>() {
    const auto parts = static_cast<unsigned>(std::max<int64_t>(1, sums.num_elements() / columns));
    const cuda::LaunchShape shape = {
        .grid = {cuda::NumBlocks(columns, cuda::kWarpSize * kWidth), parts}, .block = kThreads};
    return HETERO_CUDA_LAUNCH((SumRowsKernel<kWidth, T>), shape, stream, x.data<T>(), x.stride(0),
                              rows, columns, rows_per_part, accumulate, sums.data<float>());
  };
  constexpr int kWide = cuda::kFullWidth<T>;
  return cuda::AllowVectors({x}, kWide) ? launch.template operator()<kWide>()
                                        : launch.template operator()<1>();
}

// A matrix without rows may have a row stride of 0, which the library refuses.
int64_t RowStride(const ConstTensorView& view) { return std::max(view.stride(0), view.dim(1)); }

// c = bias + beta added
absl::Status AddBias(const GemmArgs& args, const ConstTensorView& added, Stream& stream) {
  const TensorView& c = args.c;
  return cuda::VisitFloat(c.dtype(), [&]<typename T>() {
    const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(c.num_elements(), kThreads),
                                     .block = kThreads};
    return HETERO_CUDA_LAUNCH(AddBiasKernel<T>, shape, stream,
                              args.bias.is_null() ? nullptr : args.bias.data<T>(),
                              static_cast<float>(args.beta), added.data<T>(), added.stride(0),
                              c.data<T>(), c.stride(0), c.dim(1), c.num_elements());
  });
}

}  // namespace

absl::Status GemmCuda(const GemmArgs& args, const TensorView& scratch, Stream& stream) {
  const int64_t k = args.a.dim(args.transpose_a ? 0 : 1);
  if (args.c.num_elements() == 0) return absl::OkStatus();
  const ConstTensorView added = args.added.is_null() ? ConstTensorView(args.c) : args.added;
  if (k == 0) return AddBias(args, added, stream);
  cuda::MatmulArgs product = {.transpose_a = args.transpose_a,
                              .transpose_b = args.transpose_b,
                              .m = args.c.dim(0),
                              .n = args.c.dim(1),
                              .k = k,
                              .dtype = args.a.dtype(),
                              .c_dtype = args.c.dtype(),
                              .alpha = args.alpha,
                              .beta = args.beta,
                              .a = args.a.address(),
                              .stride_a = RowStride(args.a),
                              .b = args.b.address(),
                              .stride_b = RowStride(args.b),
                              .c = args.c.address(),
                              .stride_c = RowStride(args.c)};
  // The library adds a bias in its last step only from aligned memory.
  if (!args.bias.is_null() && reinterpret_cast<uintptr_t>(args.bias.address()) % 16 != 0) {
    HETERO_RETURN_IF_ERROR(AddBias(args, added, stream));
    product.beta = 1;
  } else {
    product.bias = args.bias.address();
    product.added = args.beta == 0 ? nullptr : added.address();
    product.stride_added = args.beta == 0 ? 0 : RowStride(added);
  }
  return cuda::Matmul(product, scratch, stream);
}

absl::Status BiasBackwardCuda(const ConstTensorView& dy, bool accumulate, const TensorView& parts,
                              int64_t rows_per_part, const TensorView& dbias, Stream& stream) {
  if (dy.dim(1) == 0) return absl::OkStatus();
  return cuda::VisitFloat(dy.dtype(), [&]<typename T>() -> absl::Status {
    if (parts.is_null()) return SumRows<T>(dy, rows_per_part, accumulate, dbias, stream);
    HETERO_RETURN_IF_ERROR(SumRows<T>(dy, rows_per_part, false, parts, stream));
    return SumRows<float>(parts, parts.dim(0), accumulate, dbias, stream);
  });
}

}  // namespace hetero::internal
