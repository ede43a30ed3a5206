#ifndef HETERO_TRAINER_TRAIN_RANK_H_
#define HETERO_TRAINER_TRAIN_RANK_H_

// One rank of a run, from its first allocation to its last step.

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/signals.h"

namespace hetero {

// What of a run is not the rank's own.
struct RunParts {
  const Job& job;
  RunCheckpoints* checkpoints = nullptr;  // null: nothing is saved or loaded
  const StopSignals& signals;
};

// Loads, trains, evaluates and saves as `rank` to the end of the run. `reporter` is null on all
// ranks but the one that logs.
// Errors: INTERNAL when the rank allocates or calls what was not predicted; those of LoadRank, of
// the samples and of the other ranks.
absl::Status TrainRank(const RunParts& run, GlobalRank rank, const Prediction& prediction,
                       CommunicatorFactory& factory, Reporter* reporter, RankRecord& record);

}  // namespace hetero

#endif  // HETERO_TRAINER_TRAIN_RANK_H_
