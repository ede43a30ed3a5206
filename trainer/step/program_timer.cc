#include "hetero/trainer/step/program_timer.h"

#include <utility>

#include "absl/log/check.h"
#include "hetero/base/status.h"

namespace hetero {

ProgramPart PartOf(const Op& op) {
  switch (op.kind) {
    case OpKind::kPostReceive:
    case OpKind::kWaitReceive:
      return IsForward(op.channel) ? ProgramPart::kForwardReceive : ProgramPart::kBackwardReceive;
    case OpKind::kPostSend:
    case OpKind::kWaitSend:
      return IsForward(op.channel) ? ProgramPart::kForwardSend : ProgramPart::kBackwardSend;
    case OpKind::kLoad:
      return ProgramPart::kBatch;
    case OpKind::kForward:
      return ProgramPart::kForward;
    case OpKind::kBackward:
    case OpKind::kBackwardInput:
    case OpKind::kBackwardWeight:
      return ProgramPart::kBackward;
    case OpKind::kReduceGradients:
      return ProgramPart::kGradients;
    case OpKind::kUpdate:
    case OpKind::kFinishStep:
      return ProgramPart::kUpdate;
    case OpKind::kGatherParameters:
      return ProgramPart::kParameters;
  }
  return ProgramPart::kUpdate;
}

std::string_view Name(ProgramPart part) {
  constexpr std::string_view kNames[kNumProgramParts] = {
      "batch-generator", "forward-compute",  "backward-compute", "forward-recv",
      "forward-send",    "backward-recv",    "backward-send",    "all-grads-sync",
      "optimizer",       "params-all-gather"};
  return kNames[static_cast<int>(part)];
}

void ProgramTimer::Begin() {
  CHECK_LT(begun_ - taken_, kNumSteps);
  steps_[begun_++ % kNumSteps].num_marks = 0;
}

absl::Status ProgramTimer::End(Stream& stream) { return Add(-1, ProgramPart::kBatch, stream); }

absl::Status ProgramTimer::Enter(const Op& op, Stream& stream) {
  const int module = op.kind == OpKind::kUpdate ? own_module_ : module_of_stage_[op.stage];
  const ProgramPart part = PartOf(op);
  const Step& step = steps_[(begun_ - 1) % kNumSteps];
  if (step.num_marks > 0) {
    const Mark& last = step.marks[step.num_marks - 1];
    if (last.module == module && last.part == part) return absl::OkStatus();
  }
  return Add(module, part, stream);
}

absl::Status ProgramTimer::Add(int module, ProgramPart part, Stream& stream) {
  Step& step = steps_[(begun_ - 1) % kNumSteps];
  if (step.num_marks == step.marks.size()) {
    HETERO_ASSIGN_OR_RETURN(Event event, Event::CreateTimed(device_));
    step.marks.push_back({.event = std::move(event)});
  }
  Mark& mark = step.marks[step.num_marks++];
  mark.module = module;
  mark.part = part;
  return mark.event.Record(stream);
}

absl::StatusOr<ProgramTimes> ProgramTimer::Take() {
  CHECK_LT(taken_, begun_);
  const Step& step = steps_[taken_++ % kNumSteps];
  ProgramTimes times(num_modules_);
  for (size_t i = 0; i + 1 < step.num_marks; ++i) {
    const Mark& mark = step.marks[i];
    HETERO_ASSIGN_OR_RETURN(const absl::Duration time,
                            Event::TimeBetween(mark.event, step.marks[i + 1].event));
    times[mark.module][static_cast<int>(mark.part)] += time;
  }
  return times;
}

}  // namespace hetero
