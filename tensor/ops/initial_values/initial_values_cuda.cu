#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/initial_values/initial_value.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;

struct Box {
  int rank;
  int64_t dims[kMaxRank];
  int64_t strides[kMaxRank];
  int64_t logical_strides[kMaxRank];
  int64_t first;
  int64_t num_elements;
};

// A thread an element. Some 150 operations on doubles each: arithmetic, not the store, is what a
// value costs.
template <typename T>
__global__ __launch_bounds__(kThreads) void InitialValuesKernel(Init init, uint64_t key, Box box,
                                                                T* values) {
  const int64_t element = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (element >= box.num_elements) return;
  int64_t rest = element;
  int64_t index = box.first;
  int64_t at = 0;
  for (int d = box.rank - 1; d >= 0; --d) {
    const int64_t i = rest % box.dims[d];
    rest /= box.dims[d];
    index += i * box.logical_strides[d];
    at += i * box.strides[d];
  }
  values[at] = cuda::FromFloat<T>(static_cast<float>(InitialValueOf(init, key, index)));
}

}  // namespace

absl::Status FillInitialValuesCuda(const Init& init, uint64_t key, const LogicalPlace& place,
                                   const TensorView& view, Stream& stream) {
  Box box = {.rank = view.rank(), .first = place.first, .num_elements = view.num_elements()};
  for (int d = 0; d < view.rank(); ++d) {
    box.dims[d] = view.dim(d);
    box.strides[d] = view.stride(d);
    box.logical_strides[d] = place.strides[d];
  }
  return cuda::VisitFloat(view.dtype(), [&]<typename T>() {
    const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(box.num_elements, kThreads),
                                     .block = kThreads};
    return HETERO_CUDA_LAUNCH(InitialValuesKernel<T>, shape, stream, init, key, box,
                              view.data<T>());
  });
}

}  // namespace hetero::internal
