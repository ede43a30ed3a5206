#ifndef HETERO_TRAINER_RANK_RECORD_H_
#define HETERO_TRAINER_RANK_RECORD_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "hetero/telemetry/spans.h"
#include "hetero/trainer/replay/step_walk.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/step/current_operation.h"
#include "hetero/trainer/step/step_clock.h"
#include "hetero/trainer/step/step_waits.h"

namespace hetero {

// Kept of a rank, and of each queue of its GPU: about 25 MB, and a thousand steps of a long
// pipeline.
inline constexpr int64_t kMaxSpans = 100000;

// What a rank leaves behind.
struct RankRecord {
  RankProfile profile;
  std::optional<SpanBuffer> spans;  // set when a trace is wanted
  std::vector<QueueSpans> queues;   // of its GPU, in a trace
  CurrentOperation operation;
  std::optional<StepWaits> waits;  // set when they are told, of the CPU
  std::optional<StepWalk> walk;    // set when a step is looked at
};

}  // namespace hetero

#endif  // HETERO_TRAINER_RANK_RECORD_H_
