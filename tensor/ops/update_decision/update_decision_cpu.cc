#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {

absl::Status DecideUpdateCpu(const UpdateDecisionArgs& args) {
  const auto statistics = args.statistics_M2.values<double>();
  const double tokens = args.tokens_1.values<double>()[0];
  const double faults = args.faults_1.values<double>()[0];
  double squares = 0;
  double non_finite = 0;
  for (size_t i = 0; i < statistics.size(); i += 2) {
    squares += statistics[i];
    non_finite += statistics[i + 1];
  }
  const double divisor = tokens > 0 ? tokens : 1.0;
  const double norm = std::sqrt(squares) / divisor;
  const double clip =
      args.max_norm > 0 ? std::min(1.0, args.max_norm / (norm + kUpdateNormEpsilon)) : 1.0;
  const auto decisions = args.decisions.values<double>();
  decisions[kUpdateGradientNorm] = norm;
  decisions[kUpdateClipFactor] = clip;
  decisions[kUpdateScale] = clip / divisor;
  decisions[kUpdateApply] = non_finite == 0 && tokens > 0 && faults == 0 ? 1 : 0;
  return absl::OkStatus();
}

}  // namespace hetero::internal
