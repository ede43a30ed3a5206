#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/embedding/embedding.h"

namespace hetero::internal {
namespace {

// Row of the sequence that the n-th id belongs to.
int64_t Place(const int32_t* positions, int64_t n) {
  return positions == nullptr ? n : positions[n];
}

const int32_t* PositionsOrNull(const ConstTensorView& positions_N) {
  return positions_N.is_null() ? nullptr : positions_N.data<int32_t>();
}

template <typename T>
HETERO_CPU_KERNEL void AddRow(const T* x, T* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += x[i];
}

char* RowAddress(const TensorView& view, int64_t row) {
  return static_cast<char*>(view.address()) + row * view.stride(0) * SizeOf(view.dtype());
}

const char* RowAddress(const ConstTensorView& view, int64_t row) {
  return static_cast<const char*>(view.address()) + row * view.stride(0) * SizeOf(view.dtype());
}

}  // namespace

absl::Status EmbeddingForwardCpu(const EmbeddingForwardArgs& args) {
  return VisitFloat(args.weight_VH.dtype(), [&]<typename T>() {
    const int32_t* const ids = args.ids_N.data<int32_t>();
    const int32_t* const positions = PositionsOrNull(args.positions_N);
    const int64_t columns = args.weight_VH.dim(1);
    for (int64_t n = 0; n < args.ids_N.dim(0); ++n) {
      T* const out = args.out_TH.data<T>() + Place(positions, n) * args.out_TH.stride(0);
      const int64_t row = ids[n] - args.first_row;
      if (row >= 0 && row < args.weight_VH.dim(0)) {
        std::copy_n(args.weight_VH.data<T>() + row * args.weight_VH.stride(0), columns, out);
      } else {
        std::fill_n(out, columns, T(0));
      }
    }
  });
}

absl::Status EmbeddingBackwardCpu(const EmbeddingBackwardArgs& args) {
  return VisitFloat(args.d_out_TH.dtype(), [&]<typename T>() {
    const int32_t* const ids = args.ids_N.data<int32_t>();
    const int32_t* const positions = PositionsOrNull(args.positions_N);
    const int64_t columns = args.dweight_VH.dim(1);
    const int64_t stride = args.dweight_VH.stride(0);
    T* const dweight = args.dweight_VH.data<T>();
    if (!args.accumulate) {
      for (int64_t v = 0; v < args.dweight_VH.dim(0); ++v) {
        std::fill_n(dweight + v * stride, columns, T(0));
      }
    }
    for (int64_t n = 0; n < args.ids_N.dim(0); ++n) {
      const int64_t row = ids[n] - args.first_row;
      if (row < 0 || row >= args.dweight_VH.dim(0)) continue;
      cpu::RunKernel<AddRow<T>>(
          args.d_out_TH.data<T>() + Place(positions, n) * args.d_out_TH.stride(0),
          dweight + row * stride, columns);
    }
  });
}

absl::Status GatherRowsCpu(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                           const TensorView& out_NH) {
  const int32_t* const positions = positions_N.data<int32_t>();
  const int64_t row_bytes = in_TH.dim(1) * SizeOf(in_TH.dtype());
  for (int64_t n = 0; n < positions_N.dim(0); ++n) {
    std::memcpy(RowAddress(out_NH, n), RowAddress(in_TH, positions[n]), row_bytes);
  }
  return absl::OkStatus();
}

absl::Status ScatterRowsCpu(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                            const TensorView& out_TH) {
  const int32_t* const positions = positions_N.data<int32_t>();
  const int64_t row_bytes = in_NH.dim(1) * SizeOf(in_NH.dtype());
  for (int64_t n = 0; n < positions_N.dim(0); ++n) {
    std::memcpy(RowAddress(out_TH, positions[n]), RowAddress(in_NH, n), row_bytes);
  }
  return absl::OkStatus();
}

}  // namespace hetero::internal
