#ifndef HETERO_TRAINER_CHECKPOINT_LOAD_SETTINGS_H_
#define HETERO_TRAINER_CHECKPOINT_LOAD_SETTINGS_H_

// What a run that begins with a checkpoint asks for, and how strictly: of the run itself and of
// who looks beforehand whether it could.

#include "hetero/ckpt/load.h"
#include "hetero/trainer/checkpoint/rank_state.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

StateOptions WantedState(const proto::LoadCheckpoint& settings);

LoadOptions LoadOptionsOf(const proto::LoadCheckpoint& settings);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_LOAD_SETTINGS_H_
