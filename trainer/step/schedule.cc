#include "hetero/trainer/step/schedule.h"

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

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

  void Backward(int i) { Add(OpKind::kBackward, i); }

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

  void SendBackwardReceiveForward(int backward, int forward) {
    if (ahead_ == 0) return Exchange(work_.send_backward, backward, work_.receive_forward, forward);
    SendBackward(backward);
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
  Op Make(OpKind kind, int i, int channel) const {
    return {kind, work_.stage, i, i % work_.num_slots, channel};
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
};

void OneForwardOneBackward(StageWriter& writer) {
  const int m = writer.work().num_microbatches;
  const auto forward = [&](int i) {
    writer.ReceiveForward(i);
    writer.Forward(i);
    writer.SendForward(i);
  };
  if (!writer.work().runs_backward) {
    for (int i = 0; i < m; ++i) forward(i);
    return;
  }
  const int warmup = std::min(writer.work().warmup, m);
  const int remaining = m - warmup;
  for (int i = 0; i < warmup; ++i) forward(i);
  if (remaining > 0) writer.ReceiveForward(warmup);
  for (int k = 0; k < remaining; ++k) {
    writer.Forward(warmup + k);
    writer.SendForwardReceiveBackward(warmup + k, k);
    writer.Backward(k);
    if (k + 1 < remaining) {
      writer.SendBackwardReceiveForward(k, warmup + k + 1);
    } else {
      writer.SendBackward(k);
    }
  }
  for (int j = remaining; j < m; ++j) {
    writer.ReceiveBackward(j);
    writer.Backward(j);
    writer.SendBackward(j);
  }
}

std::vector<StageWriter> WritersOf(std::span<const StageWork> works, int receives_ahead,
                                   std::vector<Op>& program) {
  std::vector<StageWriter> writers;
  for (const StageWork& work : works) writers.emplace_back(work, receives_ahead, program);
  return writers;
}

}  // namespace

absl::StatusOr<std::vector<int>> MakeWarmups(std::span<const StageNode> stages) {
  const int count = static_cast<int>(stages.size());
  std::vector<int> warmups(stages.size(), 0);
  // Longest distance to a sink, by relaxation; an acyclic graph settles in `count` rounds.
  for (int round = 0; round <= count; ++round) {
    bool changed = false;
    for (int u = 0; u < count; ++u) {
      for (int v : stages[u].consumers) {
        if (warmups[u] < warmups[v] + 1) {
          warmups[u] = warmups[v] + 1;
          changed = true;
        }
      }
    }
    if (!changed) break;
    if (round == count) return absl::InvalidArgumentError("the stage graph has a cycle");
  }
  // A consumer on a shallower branch waits as long as its producer's deepest one.
  for (int round = 0; round <= count; ++round) {
    bool changed = false;
    for (int u = 0; u < count; ++u) {
      for (int v : stages[u].consumers) {
        if (warmups[v] < warmups[u] - 1) {
          warmups[v] = warmups[u] - 1;
          changed = true;
        } else if (warmups[u] < warmups[v] + 1) {
          warmups[u] = warmups[v] + 1;
          changed = true;
        }
      }
    }
    if (!changed) return warmups;
  }
  for (const StageNode& stage : stages) {
    if (stage.consumers.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "stage ", stage.name,
          " reaches one stage over paths of unequal length: no warm-up makes "
          "every edge advance by one; give the short path a stage or drop the skipping edge"));
    }
  }
  return absl::InvalidArgumentError("no warm-up makes every edge advance by one");
}

std::vector<Op> MakePipelineProgram(const StageWork& work, int receives_ahead) {
  std::vector<Op> program;
  StageWriter writer(work, receives_ahead, program);
  writer.PostFirstReceives();
  OneForwardOneBackward(writer);
  writer.WaitForSends();
  return program;
}

std::vector<Op> MakeAlternatingProgram(std::span<const StageWork> works) {
  std::vector<Op> program;
  std::vector<StageWriter> writers = WritersOf(works, 1, program);
  for (StageWriter& writer : writers) writer.PostFirstReceives();
  for (int i = 0; i < works.front().num_microbatches; ++i) {
    for (StageWriter& writer : writers) {
      writer.ReceiveForward(i);
      writer.Forward(i);
      writer.SendForward(i);
    }
    for (auto writer = writers.rbegin(); writer != writers.rend(); ++writer) {
      if (!writer->work().runs_backward) continue;
      writer->ReceiveBackward(i);
      writer->Backward(i);
      writer->SendBackward(i);
    }
  }
  for (StageWriter& writer : writers) writer.WaitForSends();
  return program;
}

std::vector<Op> MakePhasedProgram(std::span<const StageWork> works) {
  const int m = works.front().num_microbatches;
  std::vector<Op> program;
  // All receives are posted first: a rank takes what it sends to itself.
  std::vector<StageWriter> writers = WritersOf(works, m, program);
  for (StageWriter& writer : writers) writer.PostFirstReceives();
  const std::span<StageWriter> encoders(writers.data(), writers.size() - 1);
  for (StageWriter& encoder : encoders) {
    for (int i = 0; i < m; ++i) {
      encoder.ReceiveForward(i);
      encoder.Forward(i);
      encoder.SendForward(i);
    }
  }
  OneForwardOneBackward(writers.back());
  for (auto encoder = encoders.rbegin(); encoder != encoders.rend(); ++encoder) {
    if (!encoder->work().runs_backward) continue;
    for (int i = 0; i < m; ++i) {
      encoder->ReceiveBackward(i);
      encoder->Backward(i);
      encoder->SendBackward(i);
    }
  }
  for (StageWriter& writer : writers) writer.WaitForSends();
  return program;
}

}  // namespace hetero
