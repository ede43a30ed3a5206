#ifndef HETERO_TRAINER_STEP_INTERLEAVED_H_
#define HETERO_TRAINER_STEP_INTERLEAVED_H_

// The order of the work of a rank that holds several stages of one pipeline, its chunks: stage
// chunk * num_ranks + rank of the module for chunk 0, 1, ... (Narayanan et al., "Efficient
// large-scale language model training on GPU clusters using Megatron-LM", SC 2021, section 2.2).
// The wait at a step's ends shrinks by the number of chunks, what is sent grows by it.

#include <span>
#include <vector>

#include "hetero/trainer/step/op.h"
#include "hetero/trainer/step/schedule.h"

namespace hetero {

// A rank's place in an interleaved pipeline.
struct InterleavedPlace {
  int num_ranks = 1;
  int rank = 0;
  int num_chunks = 1;
};

// One microbatch through one chunk.
struct ChunkPass {
  int chunk = 0;
  int microbatch = 0;
  bool backward = false;

  bool operator==(const ChunkPass&) const = default;
};

// All passes of a step in Megatron-LM's order: groups of num_ranks microbatches go through chunk
// after chunk, backward in the reverse order of chunks; after 2 (num_ranks - 1 - rank) +
// (num_chunks - 1) num_ranks forwards of warm-up, one forward and one backward take turns.
// Precondition: num_ranks divides `num_microbatches`; without backward any number will do.
std::vector<ChunkPass> InterleavedOrder(const InterleavedPlace& place, int num_microbatches,
                                        bool runs_backward);

// Microbatches of each chunk in flight at most, in that order.
std::vector<int> InterleavedSlots(const InterleavedPlace& place, int num_microbatches);

// The program of a rank; `chunks` are its stages, from chunk 0. No weight half is delayed.
// `receives_ahead`: as of MakePipelineProgram, at least 1.
// Precondition: that of InterleavedOrder; slots are at least InterleavedSlots.
std::vector<Op> MakeInterleavedProgram(std::span<const StageWork> chunks,
                                       const InterleavedPlace& place, int receives_ahead);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_INTERLEAVED_H_
