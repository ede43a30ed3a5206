#ifndef HETERO_TENSOR_OPS_UPDATE_DECISION_MODULE_UPDATE_H_
#define HETERO_TENSOR_OPS_UPDATE_DECISION_MODULE_UPDATE_H_

// The arithmetic of update_decision.h, for kernels of any device. Every operation is rounded alike
// everywhere, so ranks decide alike to the bit whatever they run on.

#include <cmath>
#include <cstdint>
#include <limits>

#include "hetero/tensor/ops/any_device.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {

// Keeps the clip factor finite where the norm is next to nothing.
inline constexpr double kUpdateNormEpsilon = 1e-6;

struct UpdateOperands {
  const double* statistics_MS;
  const double* non_finite_P;
  const double* tokens;
  const double* faults;
  const double* rules_M2;
  double* decisions_MD;
  double max_norm;
  int64_t num_modules;
  int64_t num_parameters;
};

inline UpdateOperands OperandsOf(const UpdateDecisionArgs& args) {
  return {.statistics_MS = args.statistics_MS.data<double>(),
          .non_finite_P = args.non_finite_P.data<double>(),
          .tokens = args.tokens_1.data<double>(),
          .faults = args.faults_1.data<double>(),
          .rules_M2 = args.rules_M2.data<double>(),
          .decisions_MD = args.decisions_MD.data<double>(),
          .max_norm = args.max_norm,
          .num_modules = args.statistics_MS.dim(0),
          .num_parameters = args.non_finite_P.dim(0)};
}

// What decides about more than one module.
struct UpdateOfAll {
  double divisor = 1;           // n
  double squares_together = 0;  // Σ c² squares of the modules that are clipped together
  bool applies = false;
};

HETERO_ANY_DEVICE double CorrectionOf(const UpdateOperands& op, int64_t module) {
  const double took_part = op.statistics_MS[module * kNumModuleStatistics + kModuleParticipants];
  const double ranks = op.rules_M2[module * kNumModuleRules + kModuleDataParallelRanks];
  return took_part > 0 && took_part < ranks ? ranks / took_part : 1.0;
}

HETERO_ANY_DEVICE UpdateOfAll DecideForAll(const UpdateOperands& op, double non_finite) {
  UpdateOfAll all;
  const double tokens = *op.tokens;
  if (tokens > 0) all.divisor = tokens;
  bool finite = non_finite == 0;
  for (int64_t m = 0; m < op.num_modules; ++m) {
    const double squares = op.statistics_MS[m * kNumModuleStatistics + kModuleSquares];
    finite = finite && squares <= std::numeric_limits<double>::max();
    if (op.rules_M2[m * kNumModuleRules + kModuleClipShare] > 0) continue;
    const double correction = CorrectionOf(op, m);
    all.squares_together = fma(correction * correction, squares, all.squares_together);
  }
  all.applies = finite && tokens > 0 && *op.faults == 0;
  return all;
}

HETERO_ANY_DEVICE void DecideForModule(const UpdateOperands& op, const UpdateOfAll& all,
                                       int64_t module) {
  const double correction = CorrectionOf(op, module);
  const double share = op.rules_M2[module * kNumModuleRules + kModuleClipShare];
  const double squares = share > 0
                             ? correction * correction *
                                   op.statistics_MS[module * kNumModuleStatistics + kModuleSquares]
                             : all.squares_together;
  const double norm = sqrt(squares) / all.divisor;
  const double limit = share > 0 ? share * op.max_norm : op.max_norm;
  const double fitting = limit / (norm + kUpdateNormEpsilon);
  const double clip = op.max_norm > 0 && fitting < 1 ? fitting : 1.0;
  double* const decisions_D = op.decisions_MD + module * kNumUpdateDecisions;
  decisions_D[kUpdateGradientNorm] = norm;
  decisions_D[kUpdateClipFactor] = clip;
  decisions_D[kUpdateScale] = correction * clip / all.divisor;
  decisions_D[kUpdateApply] = all.applies ? 1 : 0;
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_UPDATE_DECISION_MODULE_UPDATE_H_
