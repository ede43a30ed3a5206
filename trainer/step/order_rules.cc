#include "hetero/trainer/step/order_rules.h"

#include <cstdint>
#include <deque>
#include <map>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

using OpName = absl::FunctionRef<std::string(const Op&)>;

// Walks a program once and knows what each stage has done so far.
class OrderChecker {
 public:
  OrderChecker(std::span<const Op> program, OpName name) : program_(program), name_(name) {
    for (const Op& op : program) {
      if (EndsBackward(op.kind) || GivesInputGradient(op.kind)) {
        stages_[op.stage].runs_backward = true;
      }
    }
  }

  absl::Status Run() {
    for (const Op& op : program_) {
      if (absl::Status status = Check(op); !status.ok()) return status;
      if (!IsTransfer(op.kind)) DoneOf(op) |= Bit(op.kind);
    }
    for (const auto& [stage, state] : stages_) {
      if (absl::Status status = CheckAllDone(stage); !status.ok()) return status;
    }
    for (const Op& op : program_) {
      if (op.kind != OpKind::kPostSend && op.kind != OpKind::kPostReceive) continue;
      const std::deque<int>& left = (op.kind == OpKind::kPostSend ? sends_ : receives_)[op.channel];
      if (!left.empty() && left.front() == op.microbatch) return Refuse(op, "is not waited for");
    }
    for (const Op& op : program_) {
      const Op gather = As(op, OpKind::kGatherParameters);
      if (op.kind == OpKind::kReduceGradients && !Did(gather, gather.kind)) {
        return Refuse(gather, absl::StrCat("does not follow ", name_(op)));
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Slot {
    int microbatch = -1;      // -1: free
    int sends_under_way = 0;  // from the slot
  };
  struct Stage {
    bool runs_backward = false;
    std::vector<uint16_t> done;  // by microbatch: bits of the kinds of operations
    std::vector<Slot> slots;
    std::deque<int> without_weights;  // microbatches whose input half alone has run
    int last_backward = -1;           // microbatch
  };

  absl::Status Check(const Op& op) {
    switch (op.kind) {
      case OpKind::kPostReceive:
        receives_[op.channel].push_back(op.microbatch);
        return absl::OkStatus();
      case OpKind::kWaitReceive:
        if (!IsForward(op.channel) && !Did(op, OpKind::kForward)) {
          return Early(op, OpKind::kForward);
        }
        for (const OpKind use : {OpKind::kForward, OpKind::kBackward, OpKind::kBackwardInput}) {
          if (use == OpKind::kForward && !IsForward(op.channel)) continue;
          if (Did(op, use)) return Refuse(op, absl::StrCat("comes behind ", name_(As(op, use))));
        }
        return TakePosted(op, receives_[op.channel]);
      case OpKind::kPostSend: {
        ++SlotOf(op).sends_under_way;
        sends_[op.channel].push_back(op.microbatch);
        const bool forward = IsForward(op.channel);
        const bool whole = !forward && Did(op, OpKind::kBackward);
        const OpKind made_by = forward ? OpKind::kForward : OpKind::kBackwardInput;
        return whole || Did(op, made_by) ? absl::OkStatus() : Early(op, made_by);
      }
      case OpKind::kWaitSend:
        --SlotOf(op).sends_under_way;
        return TakePosted(op, sends_[op.channel]);
      case OpKind::kLoad:
        return Load(op);
      case OpKind::kForward:
        return InSlotBehind(op, OpKind::kLoad);
      case OpKind::kBackward:
      case OpKind::kBackwardInput:
        if (Did(op, OpKind::kBackward) || Did(op, OpKind::kBackwardInput)) {
          return Refuse(op, "is a second backward of its microbatch");
        }
        if (absl::Status status = AfterEarlierBackward(op); !status.ok()) return status;
        if (op.kind == OpKind::kBackwardInput) {
          stages_[op.stage].without_weights.push_back(op.microbatch);
        }
        return InSlotBehind(op, OpKind::kForward);
      case OpKind::kBackwardWeight:
        return WeightHalf(op);
      case OpKind::kReduceGradients:
        return CheckAllDone(op.stage);
      case OpKind::kUpdate:
        for (const Op& sum : program_) {
          if (sum.kind != OpKind::kReduceGradients || Did(sum, sum.kind)) continue;
          return Refuse(op, absl::StrCat("comes before ", name_(sum)));
        }
        updated_ = true;
        return absl::OkStatus();
      case OpKind::kGatherParameters:
      case OpKind::kFinishStep:
        return updated_ ? absl::OkStatus() : Early(op, {}, OpKind::kUpdate);
    }
    return absl::OkStatus();
  }

  // The sums of gradients begin in the backward of the last microbatch.
  absl::Status AfterEarlierBackward(const Op& op) {
    int& last = stages_[op.stage].last_backward;
    if (op.microbatch > last) {
      last = op.microbatch;
      return absl::OkStatus();
    }
    Op later = op;
    later.microbatch = last;
    return Refuse(op, absl::StrCat("comes behind ", name_(later)));
  }

  absl::Status WeightHalf(const Op& op) {
    if (absl::Status status = InSlotBehind(op, OpKind::kBackwardInput); !status.ok()) return status;
    std::deque<int>& waiting = stages_[op.stage].without_weights;
    if (waiting.front() != op.microbatch) {
      Op first = op;
      first.microbatch = waiting.front();
      return Early(op, first, OpKind::kBackwardWeight);
    }
    waiting.pop_front();
    return absl::OkStatus();
  }

  absl::Status Load(const Op& op) {
    Slot& slot = SlotOf(op);
    if (slot.microbatch >= 0) {
      Op held = op;
      held.microbatch = slot.microbatch;
      if (!IsOver(held) || slot.sends_under_way > 0) {
        return Refuse(op, absl::StrCat("takes slot ", op.slot, " from microbatch ", held.microbatch,
                                       ", which is not done with it"));
      }
    }
    slot.microbatch = op.microbatch;
    return Did(op, op.kind) ? Refuse(op, "comes twice") : absl::OkStatus();
  }

  // `op` comes once, behind `before` of its microbatch and in the same slot.
  absl::Status InSlotBehind(const Op& op, OpKind before) {
    if (!Did(op, before)) return Early(op, before);
    if (Did(op, op.kind)) return Refuse(op, "comes twice");
    if (SlotOf(op).microbatch == op.microbatch) return absl::OkStatus();
    return Refuse(op, absl::StrCat("uses slot ", op.slot, ", which holds microbatch ",
                                   SlotOf(op).microbatch));
  }

  absl::Status TakePosted(const Op& op, std::deque<int>& posted) const {
    if (posted.empty()) return Refuse(op, "is waited for and was not posted");
    if (posted.front() != op.microbatch) {
      return Refuse(op, absl::StrCat("is waited for before microbatch ", posted.front(),
                                     ", which was posted before it"));
    }
    posted.pop_front();
    return absl::OkStatus();
  }

  // What the stage has loaded it has also computed.
  absl::Status CheckAllDone(int stage) {
    for (const Op& op : program_) {
      if (op.stage != stage || op.kind != OpKind::kLoad || IsOver(op)) continue;
      const OpKind missing = !Did(op, OpKind::kForward)        ? OpKind::kForward
                             : Did(op, OpKind::kBackwardInput) ? OpKind::kBackwardWeight
                                                               : OpKind::kBackward;
      return Refuse(As(op, missing), "does not come before its stage's step ends");
    }
    return absl::OkStatus();
  }

  // The stage has nothing more to compute of the microbatch.
  bool IsOver(const Op& op) {
    if (!stages_[op.stage].runs_backward) return Did(op, OpKind::kForward);
    return Did(op, OpKind::kBackward) || Did(op, OpKind::kBackwardWeight);
  }

  static uint16_t Bit(OpKind kind) { return uint16_t{1} << static_cast<int>(kind); }
  uint16_t& DoneOf(const Op& op) {
    std::vector<uint16_t>& done = stages_[op.stage].done;
    if (std::ssize(done) <= op.microbatch) done.resize(op.microbatch + 1);
    return done[op.microbatch];
  }
  bool Did(const Op& op, OpKind kind) { return (DoneOf(op) & Bit(kind)) != 0; }
  Slot& SlotOf(const Op& op) {
    std::vector<Slot>& slots = stages_[op.stage].slots;
    if (std::ssize(slots) <= op.slot) slots.resize(op.slot + 1);
    return slots[op.slot];
  }

  // What `kind` of the same microbatch is called.
  static Op As(Op op, OpKind kind) {
    op.kind = kind;
    return op;
  }
  absl::Status Early(const Op& op, OpKind kind) const { return Early(op, op, kind); }
  absl::Status Early(const Op& op, const Op& other, OpKind kind) const {
    return Refuse(op, absl::StrCat("comes before ", name_(As(other, kind))));
  }
  absl::Status Refuse(const Op& op, std::string_view why) const {
    return absl::FailedPreconditionError(absl::StrCat(name_(op), " ", why));
  }

  std::span<const Op> program_;
  OpName name_;
  bool updated_ = false;
  std::map<int, Stage> stages_;
  std::map<int, std::deque<int>> receives_;  // by channel: microbatches posted and not waited for
  std::map<int, std::deque<int>> sends_;
};

}  // namespace

absl::Status CheckOrder(std::span<const Op> program, OpName name) {
  return OrderChecker(program, name).Run();
}

}  // namespace hetero
