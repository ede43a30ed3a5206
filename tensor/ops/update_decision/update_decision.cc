#include "hetero/tensor/ops/update_decision/update_decision.h"

#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status DecideUpdate(const UpdateDecisionArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("statistics", args.statistics_M2, DType::kF64, {kAnyDim, 2}));
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens", args.tokens_1, DType::kF64, {1}));
  HETERO_RETURN_IF_ERROR(ExpectDense("faults", args.faults_1, DType::kF64, {1}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("decisions", args.decisions, DType::kF64, {kNumUpdateDecisions}));
  OperationScope scope(stream, {"update_decision", 0, 1.0 * args.statistics_M2.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::DecideUpdateCpu(args),
                         internal::DecideUpdateCuda(args, stream));
}

}  // namespace hetero
