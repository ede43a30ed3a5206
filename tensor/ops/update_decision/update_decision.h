#ifndef HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_
#define HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_

// Whether and how a step's gradients update the parameters, decided where the gradients are, so
// that no host waits for them. With n the sum of the loss weights, or 1 where that is not positive:
//
//   norm = sqrt(Σ squares) / n,  clip = min(1, max_norm / (norm + 1e-6)),  scale = clip / n
//
// of gradients that are weighted sums over tokens. The step applies when no gradient is infinite or
// NaN, a token had a loss and nothing was at fault.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

enum UpdateDecision : int {
  kUpdateGradientNorm,
  kUpdateClipFactor,
  kUpdateScale,  // of every gradient
  kUpdateApply,  // 1, or 0: nothing is written
  kNumUpdateDecisions
};

// All f64.
struct UpdateDecisionArgs {
  ConstTensorView statistics_M2;  // {Σ squares, elements that are not finite} of each module
  ConstTensorView tokens_1;       // sum of the loss weights
  ConstTensorView faults_1;       // above 0: what the gradients come from was not valid
  double max_norm = 0;            // 0: no clipping
  TensorView decisions;           // [kNumUpdateDecisions]
};
// Errors: INVALID_ARGUMENT naming the operand.
absl::Status DecideUpdate(const UpdateDecisionArgs& args, Stream& stream);

namespace internal {

absl::Status DecideUpdateCpu(const UpdateDecisionArgs& args);
absl::Status DecideUpdateCuda(const UpdateDecisionArgs& args, Stream& stream);

// Keeps the clip factor finite where the norm is next to nothing.
inline constexpr double kUpdateNormEpsilon = 1e-6;

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_
