#ifndef HETERO_TRAINER_STEP_PROGRAM_TIMER_H_
#define HETERO_TRAINER_STEP_PROGRAM_TIMER_H_

// Times what a rank's program does in a training step: marks on its stream, which the device passes
// when it gets there and nobody waits for. On the CPU that is the time of the rank's thread on the
// wall; on a GPU that of the stream, which between two kernels also waits for the host.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// Of a step, in Megatron-LM's words where it has them. Traffic that runs beside layers is no part
// of its own.
enum class ProgramPart : uint8_t {
  kBatch,
  kForward,
  kBackward,
  kForwardReceive,
  kForwardSend,
  kBackwardReceive,
  kBackwardSend,
  kGradients,  // what of their sums was not done beside the backward
  kUpdate,
  kParameters,
};
inline constexpr int kNumProgramParts = 10;

ProgramPart PartOf(const Op& op);

// "forward-compute".
std::string_view Name(ProgramPart part);

// Of one step, by module of the run and part.
using ProgramTimes = std::vector<std::array<absl::Duration, kNumProgramParts>>;

// The stream's thread uses it; at most two steps have ended and were not taken.
class ProgramTimer {
 public:
  // `module_of_stage`: by stage of the plan, below `num_modules`. An update is of no stage and
  // counts as `own_module`'s.
  ProgramTimer(Device device, std::vector<int> module_of_stage, int num_modules, int own_module)
      : device_(device),
        module_of_stage_(std::move(module_of_stage)),
        num_modules_(num_modules),
        own_module_(own_module) {}

  // Around a step. Errors of all: those of Event.
  void Begin();
  absl::Status End(Stream& stream);

  // What is queued from now on is of `op`.
  absl::Status Enter(const Op& op, Stream& stream);

  // Of the oldest step not taken. Precondition: there is one, and its device has run it.
  absl::StatusOr<ProgramTimes> Take();

 private:
  static constexpr int64_t kNumSteps = 2;

  // What begins at a mark; `module` -1: the step has ended.
  struct Mark {
    Event event;
    int module = -1;
    ProgramPart part = ProgramPart::kBatch;
  };

  struct Step {
    std::vector<Mark> marks;  // those beyond num_marks are of earlier steps
    size_t num_marks = 0;
  };

  absl::Status Add(int module, ProgramPart part, Stream& stream);

  Device device_;
  std::vector<int> module_of_stage_;
  int num_modules_;
  int own_module_;
  std::array<Step, kNumSteps> steps_;
  int64_t begun_ = 0;
  int64_t taken_ = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_PROGRAM_TIMER_H_
