#include "hetero/tensor/ops/update_decision/update_decision.h"

#include <cstdint>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status DecideUpdate(const UpdateDecisionArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense("statistics", args.statistics_MS, DType::kF64, {kAnyDim, kNumModuleStatistics}));
  const int64_t num_modules = args.statistics_MS.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense("non-finite", args.non_finite_P, DType::kF64, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens", args.tokens_1, DType::kF64, {1}));
  HETERO_RETURN_IF_ERROR(ExpectDense("faults", args.faults_1, DType::kF64, {1}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("rules", args.rules_M2, DType::kF64, {num_modules, kNumModuleRules}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("decisions", args.decisions_MD, DType::kF64, {num_modules, kNumUpdateDecisions}));
  OperationScope scope(stream, {"update_decision", 0,
                                1.0 * args.statistics_MS.num_bytes() +
                                    args.non_finite_P.num_bytes() + args.decisions_MD.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::DecideUpdateCpu(args),
                         internal::DecideUpdateCuda(args, stream));
}

}  // namespace hetero
