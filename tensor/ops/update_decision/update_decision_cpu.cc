#include <cstdint>
#include <numeric>
#include <span>

#include "hetero/tensor/ops/update_decision/module_update.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {

absl::Status DecideUpdateCpu(const UpdateDecisionArgs& args) {
  const UpdateOperands op = OperandsOf(args);
  const std::span<const double> non_finite = args.non_finite_P.values<double>();
  const UpdateOfAll all =
      DecideForAll(op, std::accumulate(non_finite.begin(), non_finite.end(), 0.0));
  for (int64_t m = 0; m < op.num_modules; ++m) DecideForModule(op, all, m);
  return absl::OkStatus();
}

}  // namespace hetero::internal
