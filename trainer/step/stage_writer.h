#ifndef HETERO_TRAINER_STEP_STAGE_WRITER_H_
#define HETERO_TRAINER_STEP_STAGE_WRITER_H_

// Writes the operations of a stage: which posts and waits go with what it computes.

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "hetero/trainer/step/op.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero::internal {

// Appends the operations of one stage to a program.
class StageWriter {
 public:
  StageWriter(const StageWork& work, int receives_ahead, std::vector<Op>& program)
      : work_(work), ahead_(receives_ahead), program_(program), sent_(work.num_slots) {
    CHECK_GE(work.num_microbatches, 1);
    CHECK_GE(work.num_slots, 1);
  }

  const StageWork& work() const { return work_; }

  void PostFirstReceives() {
    for (int i = 0; i < std::min(ahead_, work_.num_microbatches); ++i) {
      Post(OpKind::kPostReceive, work_.receive_forward, i);
    }
  }

  void ReceiveForward(int i) {
    if (ahead_ == 0) return Exchange({}, 0, work_.receive_forward, i);
    Wait(OpKind::kWaitReceive, work_.receive_forward, i);
    if (i + ahead_ < work_.num_microbatches) {
      Post(OpKind::kPostReceive, work_.receive_forward, i + ahead_);
    }
  }

  void Forward(int i) {
    for (const Op& sent : std::exchange(sent_[i % work_.num_slots], {})) program_.push_back(sent);
    Add(OpKind::kLoad, i);
    Add(OpKind::kForward, i);
  }

  void SendForward(int i) {
    if (ahead_ == 0) return Exchange(work_.send_forward, i, {}, 0);
    Send(work_.send_forward, i);
    Post(OpKind::kPostReceive, work_.receive_backward, i);
  }

  void ReceiveBackward(int i) {
    if (ahead_ == 0) return Exchange({}, 0, work_.receive_backward, i);
    Wait(OpKind::kWaitReceive, work_.receive_backward, i);
  }

  void Backward(int i) {
    if (!work_.weight_delay.has_value()) return Add(OpKind::kBackward, i);
    Add(OpKind::kBackwardInput, i);
    without_weights_.push_back(i);
  }

  // The weight halves that are due when the input half of the last backward has been sent.
  void DueWeights() { Weights(work_.weight_delay.value_or(0)); }
  void AllWeights() { Weights(0); }

  void SendBackward(int i) {
    if (ahead_ == 0) return Exchange(work_.send_backward, i, {}, 0);
    Send(work_.send_backward, i);
  }

  void SendForwardReceiveBackward(int forward, int backward) {
    if (ahead_ == 0) {
      return Exchange(work_.send_forward, forward, work_.receive_backward, backward);
    }
    SendForward(forward);
    ReceiveBackward(backward);
  }

  // With the weight halves that are due: in between, where the two are no exchange.
  void SendBackwardReceiveForward(int backward, int forward) {
    if (ahead_ == 0) {
      Exchange(work_.send_backward, backward, work_.receive_forward, forward);
      return DueWeights();
    }
    SendBackward(backward);
    DueWeights();
    ReceiveForward(forward);
  }

  void WaitForSends() {
    std::vector<Op> waits;
    for (std::vector<Op>& slot : sent_) {
      for (const Op& sent : std::exchange(slot, {})) waits.push_back(sent);
    }
    std::ranges::stable_sort(waits, {}, &Op::microbatch);
    program_.insert(program_.end(), waits.begin(), waits.end());
  }

 private:
  void Weights(size_t left) {
    for (; without_weights_.size() > left; without_weights_.pop_front()) {
      Add(OpKind::kBackwardWeight, without_weights_.front());
    }
  }

  Op Make(OpKind kind, int i, int channel) const {
    return {kind, work_.stage, work_.chunk, i, i % work_.num_slots, channel};
  }
  void Add(OpKind kind, int i) { program_.push_back(Make(kind, i, 0)); }

  void Post(OpKind kind, std::span<const int> channels, int i) {
    for (const int channel : channels) program_.push_back(Make(kind, i, channel));
  }
  void Wait(OpKind kind, std::span<const int> channels, int i) { Post(kind, channels, i); }

  void Send(std::span<const int> channels, int i) {
    Post(OpKind::kPostSend, channels, i);
    for (const int channel : channels) {
      sent_[i % work_.num_slots].push_back(Make(OpKind::kWaitSend, i, channel));
    }
  }

  // Posts all of them before it waits for any.
  void Exchange(std::span<const int> sends, int sent, std::span<const int> receives, int received) {
    Post(OpKind::kPostSend, sends, sent);
    Post(OpKind::kPostReceive, receives, received);
    Wait(OpKind::kWaitSend, sends, sent);
    Wait(OpKind::kWaitReceive, receives, received);
  }

  const StageWork& work_;
  const int ahead_;
  std::vector<Op>& program_;
  std::vector<std::vector<Op>> sent_;  // by slot: waits for what was sent from it
  std::deque<int> without_weights_;    // microbatches whose input half alone has run
};

// `works` and `program` outlive the writers.
inline std::vector<StageWriter> WritersOf(std::span<const StageWork> works, int receives_ahead,
                                          std::vector<Op>& program) {
  std::vector<StageWriter> writers;
  for (const StageWork& work : works) writers.emplace_back(work, receives_ahead, program);
  return writers;
}

}  // namespace hetero::internal

#endif  // HETERO_TRAINER_STEP_STAGE_WRITER_H_
