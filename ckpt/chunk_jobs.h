#ifndef HETERO_CKPT_CHUNK_JOBS_H_
#define HETERO_CKPT_CHUNK_JOBS_H_

// What has to be read of which chunk to fill boxes of tensors. Pure.

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "hetero/base/index_range.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/ckpt/stored_match.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct ReadRequest {
  ReadTarget target;
  int64_t* filled = nullptr;  // elements that were written are added to it
};

// What one target takes from a chunk.
struct ChunkPart {
  std::vector<RunRows> runs;
  TensorView local;
  int64_t* filled = nullptr;
};

struct ChunkJob {
  std::string_view key;
  const IndexedTensor* stored = nullptr;
  const IndexedChunk* chunk = nullptr;
  int64_t payload_offset = 0;
  std::vector<ChunkPart> parts;
  // Blocks with wanted elements: from the first to the last byte of those, in the payload.
  std::map<int64_t, IndexRange> blocks;
};

// Of all chunks that the requests take something from, as they lie in the files.
std::vector<ChunkJob> ChunkJobsOf(const std::vector<ReadRequest>& requests, int64_t block_bytes);

}  // namespace hetero

#endif  // HETERO_CKPT_CHUNK_JOBS_H_
