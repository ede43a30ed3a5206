#ifndef HETERO_TRAINER_TRAIN_RANK_H_
#define HETERO_TRAINER_TRAIN_RANK_H_

// One rank of a run, from its first allocation to its last step.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/rank.h"
#include "hetero/telemetry/spans.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/step_clock.h"

namespace hetero {

// Kept of a rank, and of each queue of its GPU: about 25 MB, and a thousand steps of a long
// pipeline.
inline constexpr int64_t kMaxSpans = 100000;

// What a rank leaves behind.
struct RankRecord {
  RankProfile profile;
  std::optional<SpanBuffer> spans;  // set when a trace is wanted
  std::vector<QueueSpans> queues;   // of its GPU, in a trace
};

// Trains and evaluates `rank` to the end of the run. `reporter` is null on all ranks but the one
// that logs.
// Errors: INTERNAL when the rank allocates or calls what was not predicted; those of the samples
// and of the other ranks.
absl::Status TrainRank(const Job& job, GlobalRank rank, const Prediction& prediction,
                       CommunicatorFactory& factory, const StopSignals& signals, Reporter* reporter,
                       RankRecord& record);

}  // namespace hetero

#endif  // HETERO_TRAINER_TRAIN_RANK_H_
