#ifndef HETERO_TRAINER_SCHEDULE_H_
#define HETERO_TRAINER_SCHEDULE_H_

// The order of one stage's work in a step: one forward, one backward (PipeDream-Flush, Narayanan et
// al., "Memory-efficient pipeline-parallel DNN training", ICML 2021), with a warm-up that a stage
// may lengthen to run ahead of its consumer.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero {

enum class StepKind : uint8_t {
  kReceiveForward,   // rf
  kForward,          // F
  kSendForward,      // sf
  kReceiveBackward,  // rb
  kBackward,         // B
  kSendBackward,     // sb
};

struct ScheduleStep {
  StepKind kind;
  int microbatch = 0;
  // One transfer with the next step: both are posted before either is waited for.
  bool with_next = false;

  bool operator==(const ScheduleStep&) const = default;
};

// A stage among others. `warmup` is the number of forwards before the first backward.
struct ScheduleShape {
  int num_microbatches = 1;
  int warmup = 0;
  bool has_upstream = false;
  bool has_downstream = false;
  bool forward_only = false;  // an evaluation, or nothing up to this stage trains
  bool returns = true;        // gradients go back upstream: something trains there
};

// Steps of one stage, in program order. Stages without an upstream edge neither receive forward nor
// send backward, stages without a downstream edge neither send forward nor receive backward.
std::vector<ScheduleStep> MakeSchedule(const ScheduleShape& shape);

// "F3"
std::string ToString(const ScheduleStep& step);

// "rf0 F0 [sf0+rb0] B0"
std::string ToString(std::span<const ScheduleStep> steps);

// Microbatches whose forward ran and whose backward did not, at most.
int PeakInFlight(std::span<const ScheduleStep> steps);

// A node of the stage graph and the stages it feeds, as indices.
struct StageNode {
  std::string name;  // "radio_encoder.0"
  std::vector<int> consumers;
  bool runs_backward = true;  // its consumers send gradients back
};

// Warm-up of every stage: the number of stages after it on the longest path to a sink, raised where
// needed so that a stage's warm-up is one more than each consumer's.
// Errors: INVALID_ARGUMENT for a cycle, or where no such assignment exists, naming the stages.
absl::StatusOr<std::vector<int>> MakeWarmups(std::span<const StageNode> stages);

enum class TransferModel : uint8_t {
  kSynchronous,  // a transfer is one event of both ends
  // Sends wait for nothing and the two directions of an edge are independent; a receive completes
  // once its send is posted.
  kChannels,
};

// Runs the programs of all stages against each other.
// Errors: FAILED_PRECONDITION listing where each stage is stuck when no stage can go on.
absl::Status CheckDeadlockFree(std::span<const StageNode> stages,
                               std::span<const std::vector<ScheduleStep>> programs,
                               TransferModel model);

}  // namespace hetero

#endif  // HETERO_TRAINER_SCHEDULE_H_
