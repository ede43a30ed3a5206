#ifndef HETERO_TRAINER_STEP_SCHEDULE_H_
#define HETERO_TRAINER_STEP_SCHEDULE_H_

// The order of the work of one rank in a step. Stages of a pipeline run one forward, one backward
// (PipeDream-Flush, Narayanan et al., "Memory-efficient pipeline-parallel DNN training", ICML 2021)
// with a warm-up that a stage may lengthen to run ahead of its consumer; stages of modules that
// share their ranks take turns. Where backward passes come in two halves, the weight half runs when
// the input half has been sent, or later (Qi et al., "Zero bubble pipeline parallelism", ICLR 2024,
// schedule ZB-H1).

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// A stage of the graph and the stages it feeds, as indices.
struct StageNode {
  std::string name;  // "radio_encoder.0"
  std::vector<int> consumers;
};

// Warm-up of every stage, the number of forwards before its first backward: the number of stages
// after it on the longest path to a sink, raised where needed so that a stage's warm-up is one more
// than each consumer's.
// Errors: INVALID_ARGUMENT for a cycle, or where no such assignment exists, naming the stages.
absl::StatusOr<std::vector<int>> MakeWarmups(std::span<const StageNode> stages);

// What a stage does in a step, from which its program is made.
struct StageWork {
  int stage = 0;
  int chunk = 0;  // of its rank's stages of one module
  int num_microbatches = 1;
  int warmup = 0;
  int num_slots = 1;          // microbatches in flight at most
  bool runs_backward = true;  // no: an evaluation, or nothing up to this stage trains
  // A backward is two operations, and the weight half of a microbatch comes behind the input half
  // of the one that is so many later. Unset: it is one.
  std::optional<int> weight_delay = {};
  // Of its edges, in their order. Backward only those over which gradients come and go.
  std::vector<int> receive_forward = {};
  std::vector<int> send_forward = {};
  std::vector<int> receive_backward = {};
  std::vector<int> send_backward = {};
};

// The program of a rank with one stage.
// `receives_ahead`: receives posted before they are needed, the current one included; sends are
// then waited for when their slot is used again. 0: every transfer is waited for where it is
// posted, and a send with the receive that follows it is one exchange.
std::vector<Op> MakePipelineProgram(const StageWork& work, int receives_ahead);

// The program of a rank with a stage of every module, sources first, none of which is a pipeline:
// each microbatch goes forward through all of them, then back. No weight half is delayed.
std::vector<Op> MakeAlternatingProgram(std::span<const StageWork> works);

// The program of a rank with a stage of every module, sources first, some of which are pipelines:
// the encoders' forwards of the whole step, then one forward, one backward of the last module on
// the rows that they left, then the encoders' backwards, whose weight halves are not delayed.
std::vector<Op> MakePhasedProgram(std::span<const StageWork> works);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_SCHEDULE_H_
