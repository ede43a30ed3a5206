#include <cstdint>

#include "hetero/tensor/ops/check_indices/check_indices.h"
#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/cuda_rows.cuh"
#include "hetero/tensor/validate.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;

// Sums of integers have no order.
__global__ __launch_bounds__(kThreads) void CheckIndicesKernel(const int32_t* indices,
                                                               const float* weight,
                                                               int64_t num_indices, int64_t limit,
                                                               unsigned long long* outside) {
  const int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool counts = n < num_indices && (indices[n] < 0 || indices[n] >= limit) &&
                      (weight == nullptr || weight[n] != 0);
  const int count = __syncthreads_count(counts ? 1 : 0);
  if (threadIdx.x == 0 && count > 0) atomicAdd(outside, static_cast<unsigned long long>(count));
}

}  // namespace

absl::Status CheckIndicesCuda(const CheckIndicesArgs& args, Stream& stream) {
  if (!args.weight_N.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDType("weight", args.weight_N, DType::kF32));
  }
  const int64_t num_indices = args.indices_N.dim(0);
  const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_indices, kThreads),
                                   .block = kThreads};
  return HETERO_CUDA_LAUNCH(CheckIndicesKernel, shape, stream, args.indices_N.data<int32_t>(),
                            cuda::DataOrNull<float>(args.weight_N), num_indices, args.limit,
                            reinterpret_cast<unsigned long long*>(args.outside_1.data<int64_t>()));
}

}  // namespace hetero::internal
