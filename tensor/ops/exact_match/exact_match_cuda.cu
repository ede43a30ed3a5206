#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/exact_match/exact_match.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 256;

// The thread of a row's first token walks the row. Sums of integers have no order.
__global__ __launch_bounds__(kThreads) void ExactMatchKernel(const int32_t* predicted,
                                                             const int32_t* targets,
                                                             const int32_t* positions,
                                                             int64_t num_tokens, int64_t row_length,
                                                             unsigned long long* counts) {
  const int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const auto row_of = [&](int64_t token) { return positions[token] / row_length; };
  int rows = 0;
  int exact = 0;
  if (t < num_tokens) {
    const int64_t row = row_of(t);
    if (t == 0 || row_of(t - 1) != row) {
      rows = exact = 1;
      for (int64_t i = t; i < num_tokens && row_of(i) == row; ++i) {
        exact &= predicted[i] == targets[i] ? 1 : 0;
      }
    }
  }
  rows = cuda::BlockSum<kThreads>(rows);
  exact = cuda::BlockSum<kThreads>(exact);
  if (threadIdx.x != 0) return;
  atomicAdd(counts, static_cast<unsigned long long>(rows));
  atomicAdd(counts + 1, static_cast<unsigned long long>(exact));
}

}  // namespace

absl::Status CountExactMatchesCuda(const ExactMatchArgs& args, Stream& stream) {
  const int64_t num_tokens = args.positions_N.dim(0);
  const cuda::LaunchShape shape = {.grid = cuda::NumBlocks(num_tokens, kThreads),
                                   .block = kThreads};
  return HETERO_CUDA_LAUNCH(ExactMatchKernel, shape, stream, args.predicted_N.data<int32_t>(),
                            args.targets_N.data<int32_t>(), args.positions_N.data<int32_t>(),
                            num_tokens, args.row_length,
                            reinterpret_cast<unsigned long long*>(args.counts_2.data<int64_t>()));
}

}  // namespace hetero::internal
