#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_OPERANDS_CUH_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_OPERANDS_CUH_

// Lists of tiles and maps of operands on their way to the kernels of compute capability 9.0.

#include <algorithm>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/expert_gemm/tensor_maps.cuh"

namespace hetero::internal {

// A list goes to the device as arguments: neither side waits.
template <typename T>
struct ListArgument {
  static constexpr int kCount = 3600 / sizeof(T);
  T items[kCount];
};

template <typename T>
__global__ void CopyListKernel(const __grid_constant__ ListArgument<T> from, int count, T* to) {
  if (threadIdx.x < count) to[threadIdx.x] = from.items[threadIdx.x];
}

template <typename T>
absl::Status CopyList(std::span<const T> items, T* to, Stream& stream) {
  while (!items.empty()) {
    const size_t count = std::min<size_t>(items.size(), ListArgument<T>::kCount);
    ListArgument<T> argument;
    std::ranges::copy(items.first(count), argument.items);
    const cuda::LaunchShape launch = {.grid = 1, .block = ListArgument<T>::kCount};
    HETERO_RETURN_IF_ERROR(HETERO_CUDA_LAUNCH(CopyListKernel<T>, launch, stream, argument,
                                              static_cast<int>(count), to));
    items = items.subspan(count);
    to += count;
  }
  return absl::OkStatus();
}

// Copies take `rows` of a head, as panels.
template <typename P>
absl::Status MakeMap(const TensorMaps& maps, const ConstTensorView& view, CUtensorMap& map,
                     uint32_t rows) {
  const int64_t panel_bytes = P::kRowBytes;
  return maps.MakeStrided<3>(
      view, {P::kWidth, view.dim(0), view.dim(1) / P::kWidth},
      {view.stride(0) * SizeOf(view.dtype()), panel_bytes},
      {static_cast<uint32_t>(P::kWidth), rows, static_cast<uint32_t>(P::kCount)}, map);
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_OPERANDS_CUH_
