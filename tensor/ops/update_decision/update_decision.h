#ifndef HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_
#define HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_

// Whether and how a step's gradients update the parameters of each module, decided where the
// gradients are, so that no host waits for them. Gradients g are weighted sums over tokens. With n
// the sum of the loss weights, or 1 where that is not positive, and c = d / k where k of a module's
// d data-parallel ranks took part and 0 < k < d, else 1, the module's mean gradient is c g / n and
//
//   norm = c sqrt(squares) / n,  clip = min(1, limit / (norm + 1e-6)),  scale = c clip / n
//
// A module with a share s > 0 is clipped alone, to the limit s max_norm. The others are clipped
// together: the squares of their norms make one norm, whose limit is max_norm.
//
// The step applies when no gradient is infinite or NaN, a token had a loss and nothing was at
// fault.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Of a module's gradients; the first two are totals of GradientStatistics.
enum ModuleStatistic : int {
  kModuleSquares,
  kModuleZeros,         // not used here
  kModuleParticipants,  // k
  kNumModuleStatistics
};

enum ModuleRule : int {
  kModuleClipShare,          // s; 0: clipped together with others
  kModuleDataParallelRanks,  // d; 0: nothing is corrected
  kNumModuleRules
};

enum UpdateDecision : int {
  kUpdateGradientNorm,  // what is clipped: the module's, or that of all that are clipped together
  kUpdateClipFactor,
  kUpdateScale,  // of every gradient
  kUpdateApply,  // 1, or 0: nothing is written; the same for all modules
  kNumUpdateDecisions
};

// All f64. M modules, P parameters, both of the whole run.
struct UpdateDecisionArgs {
  ConstTensorView statistics_MS;  // [M, kNumModuleStatistics], summed over the world
  ConstTensorView non_finite_P;   // elements that are not finite, summed over the world
  ConstTensorView tokens_1;       // sum of the loss weights
  ConstTensorView faults_1;       // above 0: what the gradients come from was not valid
  ConstTensorView rules_M2;       // [M, kNumModuleRules]
  double max_norm = 0;            // 0: no clipping
  TensorView decisions_MD;        // [M, kNumUpdateDecisions]
};
// Errors: INVALID_ARGUMENT naming the operand.
absl::Status DecideUpdate(const UpdateDecisionArgs& args, Stream& stream);

namespace internal {

absl::Status DecideUpdateCpu(const UpdateDecisionArgs& args);
absl::Status DecideUpdateCuda(const UpdateDecisionArgs& args, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_UPDATE_DECISION_UPDATE_DECISION_H_
