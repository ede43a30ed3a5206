#include "hetero/params/counts.h"

#include <cmath>

#include "hetero/base/status.h"
#include "hetero/params/shard.h"
#include "hetero/params/sharing.h"

namespace hetero {
namespace {

double ActiveElements(const ParameterSpec& spec) {
  return spec.active_share * static_cast<double>(spec.num_elements());
}

}  // namespace

ParameterCounts CountParameters(std::span<const ParameterSpec> specs) {
  ParameterCounts counts;
  for (const ParameterSpec& spec : specs) {
    if (spec.is_buffer) continue;
    const int64_t elements = spec.num_elements();
    counts.all += elements;
    if (spec.gradient_group == GradientGroup::kExpert) counts.experts += elements;
    if (spec.trainable) counts.trainable += elements;
    counts.active += std::llround(ActiveElements(spec));
  }
  return counts;
}

absl::StatusOr<RankParameterCounts> CountRankParameters(std::span<const ParameterSpec> specs,
                                                        const ShardSpec& shard) {
  RankParameterCounts counts;
  for (const ParameterSpec& spec : specs) {
    if (spec.is_buffer || spec.stage != shard.pp.rank) continue;
    HETERO_ASSIGN_OR_RETURN(const Shard local, ShardOf(spec, shard));
    for (const SharedRun& run : SharedRuns(spec, local)) {
      counts.held += run.count;
      if (run.owned()) counts.owned += run.count;
    }
  }
  return counts;
}

double ProductFlops(std::span<const ParameterSpec> specs) {
  double flops = 0;
  for (const ParameterSpec& spec : specs) {
    if (!spec.is_buffer && spec.shape.size() > 1) flops += 2 * ActiveElements(spec);
  }
  return flops;
}

}  // namespace hetero
