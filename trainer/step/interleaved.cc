#include "hetero/trainer/step/interleaved.h"

#include <algorithm>

#include "absl/log/check.h"
#include "hetero/trainer/step/stage_writer.h"

namespace hetero {
namespace {

// Forwards or backwards of a rank: groups of microbatches, of each one chunk after another.
std::vector<ChunkPass> Passes(const InterleavedPlace& place, int num_microbatches, bool backward) {
  std::vector<ChunkPass> passes;
  for (int first = 0; first < num_microbatches; first += place.num_ranks) {
    const int end = std::min(first + place.num_ranks, num_microbatches);
    for (int c = 0; c < place.num_chunks; ++c) {
      const int chunk = backward ? place.num_chunks - 1 - c : c;
      for (int i = first; i < end; ++i) passes.push_back({chunk, i, backward});
    }
  }
  return passes;
}

}  // namespace

std::vector<ChunkPass> InterleavedOrder(const InterleavedPlace& place, int num_microbatches,
                                        bool runs_backward) {
  const std::vector<ChunkPass> forwards = Passes(place, num_microbatches, /*backward=*/false);
  if (!runs_backward) return forwards;
  CHECK_EQ(num_microbatches % place.num_ranks, 0);
  const size_t warmup =
      2 * (place.num_ranks - 1 - place.rank) + (place.num_chunks - 1) * place.num_ranks;
  auto next = forwards.begin() + std::min(warmup, forwards.size());
  std::vector<ChunkPass> order(forwards.begin(), next);
  for (const ChunkPass& pass : Passes(place, num_microbatches, /*backward=*/true)) {
    if (next != forwards.end()) order.push_back(*next++);
    order.push_back(pass);
  }
  return order;
}

std::vector<int> InterleavedSlots(const InterleavedPlace& place, int num_microbatches) {
  std::vector<int> held(place.num_chunks, 0);
  std::vector<int> most(place.num_chunks, 0);
  for (const ChunkPass& pass : InterleavedOrder(place, num_microbatches, /*runs_backward=*/true)) {
    int& chunk = held[pass.chunk];
    chunk += pass.backward ? -1 : 1;
    most[pass.chunk] = std::max(most[pass.chunk], chunk);
  }
  return most;
}

std::vector<Op> MakeInterleavedProgram(std::span<const StageWork> chunks,
                                       const InterleavedPlace& place, int receives_ahead) {
  CHECK_EQ(std::ssize(chunks), place.num_chunks);
  CHECK_GE(receives_ahead, 1);
  std::vector<Op> program;
  std::vector<internal::StageWriter> writers = internal::WritersOf(chunks, receives_ahead, program);
  for (internal::StageWriter& writer : writers) writer.PostFirstReceives();
  const StageWork& last = chunks.back();
  for (const ChunkPass& pass : InterleavedOrder(place, last.num_microbatches, last.runs_backward)) {
    internal::StageWriter& writer = writers[pass.chunk];
    if (!pass.backward) {
      writer.ReceiveForward(pass.microbatch);
      writer.Forward(pass.microbatch);
      writer.SendForward(pass.microbatch);
    } else if (writer.work().runs_backward) {
      writer.ReceiveBackward(pass.microbatch);
      writer.Backward(pass.microbatch);
      writer.SendBackward(pass.microbatch);
      writer.AllWeights();
    }
  }
  for (internal::StageWriter& writer : writers) writer.WaitForSends();
  return program;
}

}  // namespace hetero
