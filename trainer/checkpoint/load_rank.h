#ifndef HETERO_TRAINER_CHECKPOINT_LOAD_RANK_H_
#define HETERO_TRAINER_CHECKPOINT_LOAD_RANK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/load.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {

// What a run went on from; the same on all ranks.
struct LoadedRun {
  RunState state;
  std::string checkpoint;             // its path; empty: the run begins with new weights
  std::vector<std::string> warnings;  // checkpoints that were passed over, values that were kept
  LoadReport report;
  // Of the optimizer, where the configuration's differ from the checkpoint's.
  std::vector<std::string> changed_settings;
};

// Fills the weights of `rank` and, unless the settings say otherwise, its masters and moments, from
// the first candidate that is whole, and sets the optimizer's progress. Collective over `exchange`,
// which joins all ranks. Precondition: `checkpoints.source` is set and `trainer` has done nothing.
// Errors, the same on all ranks: those of Load, ReadRunState and MatchGroups; DATA_LOSS, with exit
// code kCheckpointDamaged, when no candidate is whole.
absl::StatusOr<LoadedRun> LoadRank(RunCheckpoints& checkpoints, const Model& model, GlobalRank rank,
                                   RankTrainer& trainer, Exchange& exchange);

// "goes on from runs/x/checkpoints/iter_0000200: step 200 of 600", and the warnings.
std::vector<std::string> Describe(const LoadedRun& loaded, int64_t train_steps);

// Leaves resume_report.json in the run's folder: what was loaded, and how.
// Errors: those of the storage.
absl::Status WriteResumeReport(RunCheckpoints& checkpoints, const LoadedRun& loaded);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_LOAD_RANK_H_
