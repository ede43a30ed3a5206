#ifndef HETERO_TRAINER_CHECKPOINT_RANK_STATE_H_
#define HETERO_TRAINER_CHECKPOINT_RANK_STATE_H_

// The tensors of one rank as checkpoints have them: under the names of Megatron-LM.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/grid/rank.h"
#include "hetero/models/names/names.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

enum class StateUse {
  kSave,
  // Masters that are the weights themselves are asked for once.
  kLoad,
};

struct StateOptions {
  StateUse use = StateUse::kSave;
  bool optimizer = true;  // masters and moments too
  NameScheme names = NameScheme::kMegatron;
  std::vector<std::string> modules = {};  // empty: all
};

// Weights of the modules of `rank`, and its own share of masters and moments, whose objects are
// those of ObjectsOfRank. The tensors are views of what `trainer` holds.
absl::StatusOr<CheckpointState> StateOfRank(const Model& model, RankTrainer& trainer,
                                            GlobalRank rank, const StateOptions& options);

// GroupObjects of the modules of `rank`, or of those of `modules` alone, as their next update finds
// them.
std::vector<CheckpointObject> ObjectsOfRank(RankTrainer& trainer, GlobalRank rank,
                                            const std::vector<std::string>& modules = {});

// "mimo.language.optimizer.state.param.": what the names of masters begin with.
std::string MasterPrefix(std::string_view module);

// Whether a key of a file, written in any of its styles, is of masters or moments.
bool IsOptimizerKey(std::string_view key);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_RANK_STATE_H_
