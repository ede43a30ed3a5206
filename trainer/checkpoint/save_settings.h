#ifndef HETERO_TRAINER_CHECKPOINT_SAVE_SETTINGS_H_
#define HETERO_TRAINER_CHECKPOINT_SAVE_SETTINGS_H_

// What a run saves, and how: of the run itself and of who tells beforehand what that takes.

#include "hetero/ckpt/save.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/checkpoint/rank_state.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

StateOptions SavedState(const proto::SaveCheckpoints& settings);

// Of every save of `rank`. What memory it takes follows from shapes, alike on all ranks of a class:
// of what its data-parallel ranks save together, an even share of each.
SaveOptions SaveOptionsOf(const proto::SaveCheckpoints& settings, RankTrainer& trainer,
                          GlobalRank rank);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_SAVE_SETTINGS_H_
