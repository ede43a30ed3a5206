#include "hetero/trainer/checkpoint/load_settings.h"

#include <string>

#include "hetero/models/names/names.h"
#include "hetero/trainer/checkpoint/param_groups.h"

namespace hetero {

StateOptions WantedState(const proto::LoadCheckpoint& settings) {
  return {.use = StateUse::kLoad,
          .optimizer = !settings.finetune() && !settings.skip_optimizer(),
          .names = settings.names() == proto::LoadCheckpoint::LLAVA ? NameScheme::kMegatronLlava
                                                                    : NameScheme::kMegatron,
          .modules = {settings.modules().begin(), settings.modules().end()}};
}

LoadOptions LoadOptionsOf(const proto::LoadCheckpoint& settings) {
  return {.allow_missing = {settings.allow_missing().begin(), settings.allow_missing().end()},
          .optional = {std::string(kGroupsPattern), std::string(kShardingTypePattern)},
          .refuse_unused = settings.refuse_unused(),
          .cast = settings.cast(),
          .foreign = settings.foreign()};
}

}  // namespace hetero
