#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/update_decision/module_update.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {
namespace {

constexpr int kThreads = 1024;

// A block for some ten thousand numbers: the launch is the cost. Counts are whole numbers, whose
// sum is exact in any order; every thread walks over the modules, a handful, by itself.
__global__ __launch_bounds__(kThreads) void DecideUpdateKernel(
    const __grid_constant__ UpdateOperands op) {
  double non_finite = 0;
  for (int64_t p = threadIdx.x; p < op.num_parameters; p += kThreads) {
    non_finite += op.non_finite_P[p];
  }
  non_finite = cuda::BlockSum<kThreads>(non_finite);
  if (threadIdx.x >= op.num_modules) return;
  const UpdateOfAll all = DecideForAll(op, non_finite);
  for (int64_t m = threadIdx.x; m < op.num_modules; m += kThreads) DecideForModule(op, all, m);
}

}  // namespace

absl::Status DecideUpdateCuda(const UpdateDecisionArgs& args, Stream& stream) {
  const cuda::LaunchShape shape = {.grid = 1, .block = kThreads};
  return HETERO_CUDA_LAUNCH(DecideUpdateKernel, shape, stream, OperandsOf(args));
}

}  // namespace hetero::internal
