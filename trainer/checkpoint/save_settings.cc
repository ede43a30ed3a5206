#include "hetero/trainer/checkpoint/save_settings.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "hetero/base/rounding.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/dtype.h"
#include "hetero/trainer/step/engine.h"

namespace hetero {
namespace {

constexpr int64_t kNumOptimizerStates = 3;  // the master and both moments

struct StateBytes {
  int64_t held = 0;   // by the rank: what it writes at most
  int64_t share = 0;  // of what is saved, when data-parallel ranks divide it evenly
};

StateBytes StateBytesOf(RankTrainer& trainer, GlobalRank rank, bool optimizer) {
  StateBytes bytes;
  for (const Engine::OwnStage& stage : trainer.engine().stages()) {
    for (const std::unique_ptr<Parameter>& parameter : stage.parameters->parameters()) {
      const bool of_experts = parameter->spec->gradient_group == GradientGroup::kExpert;
      const auto num_ranks = static_cast<int64_t>(
          stage.grid->GroupOf(of_experts ? Family::kExptDp : Family::kDpCp, rank)->size());
      const TensorView& value = parameter->value;
      const bool has_moments = optimizer && !parameter->gradient.is_null();
      const int64_t of_optimizer = has_moments ? kNumOptimizerStates * value.num_elements() *
                                                     SizeOf(ComputeDType(value.dtype()))
                                               : 0;
      bytes.held += value.num_bytes() + CeilDiv(of_optimizer, num_ranks);
      bytes.share += CeilDiv(value.num_bytes() + of_optimizer, num_ranks);
    }
  }
  return bytes;
}

}  // namespace

StateOptions SavedState(const proto::SaveCheckpoints& settings) {
  return {.optimizer = !settings.skip_optimizer()};
}

SaveOptions SaveOptionsOf(const proto::SaveCheckpoints& settings, RankTrainer& trainer,
                          GlobalRank rank) {
  const StateBytes bytes = StateBytesOf(trainer, rank, !settings.skip_optimizer());
  const int64_t ring_bytes =
      settings.has_host_bytes() ? std::min(settings.host_bytes(), bytes.held) : bytes.share / 4;
  return {.ring_bytes = std::max<int64_t>(1, ring_bytes), .incremental = settings.incremental()};
}

}  // namespace hetero
