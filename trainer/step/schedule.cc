#include "hetero/trainer/step/schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/trainer/step/stage_writer.h"

namespace hetero {
namespace {

using internal::StageWriter;
using internal::WritersOf;

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
      writer.DueWeights();
    }
  }
  for (int j = remaining; j < m; ++j) {
    writer.ReceiveBackward(j);
    writer.Backward(j);
    writer.SendBackward(j);
    writer.DueWeights();
  }
  writer.AllWeights();
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
      writer->AllWeights();
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
      encoder->AllWeights();
    }
  }
  for (StageWriter& writer : writers) writer.WaitForSends();
  return program;
}

}  // namespace hetero
