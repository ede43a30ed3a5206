#include <cstdint>

#include "hetero/tensor/ops/cuda_kernel.cuh"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {
namespace {

// A handful of numbers: the launch is the cost. Every operation is rounded as on the CPU, so both
// sides agree to the bit.
__global__ void DecideUpdateKernel(const double* statistics, int64_t num_modules,
                                   const double* tokens, const double* faults, double max_norm,
                                   double* decisions) {
  double squares = 0;
  double non_finite = 0;
  for (int64_t i = 0; i < num_modules; ++i) {
    squares += statistics[2 * i];
    non_finite += statistics[2 * i + 1];
  }
  const double divisor = *tokens > 0 ? *tokens : 1.0;
  const double norm = sqrt(squares) / divisor;
  const double clip = max_norm > 0 ? fmin(1.0, max_norm / (norm + kUpdateNormEpsilon)) : 1.0;
  decisions[kUpdateGradientNorm] = norm;
  decisions[kUpdateClipFactor] = clip;
  decisions[kUpdateScale] = clip / divisor;
  decisions[kUpdateApply] = non_finite == 0 && *tokens > 0 && *faults == 0 ? 1 : 0;
}

}  // namespace

absl::Status DecideUpdateCuda(const UpdateDecisionArgs& args, Stream& stream) {
  const cuda::LaunchShape shape = {.grid = 1, .block = 1};
  return HETERO_CUDA_LAUNCH(DecideUpdateKernel, shape, stream, args.statistics_M2.data<double>(),
                            args.statistics_M2.dim(0), args.tokens_1.data<double>(),
                            args.faults_1.data<double>(), args.max_norm,
                            args.decisions.data<double>());
}

}  // namespace hetero::internal
