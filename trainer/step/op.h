#ifndef HETERO_TRAINER_STEP_OP_H_
#define HETERO_TRAINER_STEP_OP_H_

// What a rank does in a step, one operation after another. The engine walks a list of these, the
// checker proves that all lists of a run end, printers and traces show them: nothing happens in a
// step that is not in the list.

#include <cstdint>
#include <span>
#include <string>

namespace hetero {

enum class OpKind : uint8_t {
  kPostReceive,  // starts to receive
  kWaitReceive,  // what was posted has arrived
  kPostSend,     // starts to send
  kWaitSend,     // what was sent may be overwritten
  kLoad,         // brings what the stage reads of a microbatch to the device
  kForward,
  kBackward,          // both halves at once
  kBackwardInput,     // the gradient of what the stage read; leaves the weights' for later
  kBackwardWeight,    // the gradients that kBackwardInput left
  kReduceGradients,   // the sums of a stage's gradients over its data-parallel ranks are complete
  kUpdate,            // the optimizer's step, with the rest of the world
  kGatherParameters,  // starts to fetch what other data-parallel ranks updated of a stage
  kFinishStep,        // what follows from the step's statistics and outcome, Stage::FinishStep
};

struct Op {
  OpKind kind = OpKind::kForward;
  int stage = 0;       // whose, in StepPlan::stages; of kUpdate 0
  int chunk = 0;       // of the stages of its module on a rank, which one it is
  int microbatch = 0;  // of all kinds before kReduceGradients
  int slot = 0;        // of the stage: which of its microbatches in flight
  int channel = 0;     // of transfers: ForwardChannel or BackwardChannel of an edge

  bool operator==(const Op&) const = default;
};

// The directions of edge `edge` of a plan: activations, and their gradients.
constexpr int ForwardChannel(int edge) { return 2 * edge; }
constexpr int BackwardChannel(int edge) { return 2 * edge + 1; }
constexpr int EdgeOf(int channel) { return channel / 2; }
constexpr bool IsForward(int channel) { return channel % 2 == 0; }

constexpr bool IsPost(OpKind kind) {
  return kind == OpKind::kPostReceive || kind == OpKind::kPostSend;
}
constexpr bool IsWait(OpKind kind) {
  return kind == OpKind::kWaitReceive || kind == OpKind::kWaitSend;
}
constexpr bool IsTransfer(OpKind kind) { return IsPost(kind) || IsWait(kind); }
// Computes the gradient of what the stage read.
constexpr bool GivesInputGradient(OpKind kind) {
  return kind == OpKind::kBackward || kind == OpKind::kBackwardInput;
}
// Is the last that a stage does with a microbatch of training.
constexpr bool EndsBackward(OpKind kind) {
  return kind == OpKind::kBackward || kind == OpKind::kBackwardWeight;
}

// "F3", "B3", its halves "I3" (input) and "W3" (weight), "L3" (load), "G" (gradients), "U"
// (update), "P" (parameters), "S" (finish). Transfers are "sf3", "rf3", "sb3", "rb3": send or
// receive, forward or backward.
// "+rf3" posts one and "rf3" waits for it. Behind chunk 0 it is told: "F3'1".
std::string ToString(const Op& op);
std::string ToString(std::span<const Op> program);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_OP_H_
