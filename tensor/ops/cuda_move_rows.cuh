#ifndef HETERO_TENSOR_OPS_CUDA_MOVE_ROWS_CUH_
#define HETERO_TENSOR_OPS_CUDA_MOVE_ROWS_CUH_

// Copies of rows addressed by index.

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero::cuda {

// Where row n of a move comes from and goes to; null indices are n itself.
struct RowMoves {
  int64_t count = 0;
  const int32_t* from = nullptr;
  int64_t first_row = 0;  // of the source's rows: index i is its row i - first_row
  const int32_t* to = nullptr;
};

namespace internal {

// A warp a row, in accesses of sizeof(Access).
template <typename Access, int kThreads>
__global__ __launch_bounds__(kThreads) void MoveRowsKernel(RowMoves moves, const char* from,
                                                           int64_t from_pitch, int64_t from_rows,
                                                           char* to, int64_t to_pitch,
                                                           int64_t accesses) {
  constexpr int kUnroll = 4;
  const int64_t n = int64_t{blockIdx.x} * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  if (n >= moves.count) return;
  const int64_t source = (moves.from == nullptr ? n : moves.from[n]) - moves.first_row;
  const int64_t destination = moves.to == nullptr ? n : moves.to[n];
  const bool held = source >= 0 && source < from_rows;
  const auto* const x = reinterpret_cast<const Access*>(from + (held ? source : 0) * from_pitch);
  auto* const y = reinterpret_cast<Access*>(to + destination * to_pitch);
  for (int64_t first = threadIdx.x % kWarpSize; first < accesses; first += kUnroll * kWarpSize) {
    Access value[kUnroll] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * kWarpSize;
      if (held && i < accesses) value[u] = x[i];
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * kWarpSize;
      if (i < accesses) y[i] = value[u];
    }
  }
}

}  // namespace internal

// Row to[n] of `to` = row from[n] - first_row of `from`, or zeros where there is no such row.
// Matrices of equal columns and dtype.
inline absl::Status MoveRows(const RowMoves& moves, const ConstTensorView& from,
                             const TensorView& to, hetero::Stream& stream) {
  constexpr int kThreads = 256;
  const int64_t size = SizeOf(from.dtype());
  const int64_t row_bytes = from.dim(1) * size;
  const auto launch = [&]<typename Access>() {
    const LaunchShape shape = {
        .grid = row_bytes == 0 ? 0 : NumBlocks(moves.count, kThreads / kWarpSize),
        .block = kThreads};
    return HETERO_CUDA_LAUNCH((internal::MoveRowsKernel<Access, kThreads>), shape, stream, moves,
                              static_cast<const char*>(from.address()), from.stride(0) * size,
                              from.dim(0), static_cast<char*>(to.address()), to.stride(0) * size,
                              row_bytes / static_cast<int64_t>(sizeof(Access)));
  };
  if (AllowVectors({from, to}, static_cast<int>(16 / size))) {
    return launch.template operator()<uint4>();
  }
  switch (size) {
    case 2:
      return launch.template operator()<uint16_t>();
    case 4:
      return launch.template operator()<uint32_t>();
    default:
      return launch.template operator()<uint64_t>();
  }
}

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_CUDA_MOVE_ROWS_CUH_
