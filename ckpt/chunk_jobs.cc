#include "hetero/ckpt/chunk_jobs.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/plan/box.h"

namespace hetero {
namespace {

// Of `blocks`, that the bytes in `range` are wanted.
void AddWanted(IndexRange range, int64_t block_bytes, std::map<int64_t, IndexRange>& blocks) {
  for (int64_t b = range.first / block_bytes; b * block_bytes < range.end(); ++b) {
    const int64_t first = std::max(range.first, b * block_bytes);
    const int64_t end = std::min(range.end(), (b + 1) * block_bytes);
    const auto [known, is_first] = blocks.emplace(b, IndexRange{first, end - first});
    if (is_first) continue;
    const int64_t all_first = std::min(known->second.first, first);
    known->second = {all_first, std::max(known->second.end(), end) - all_first};
  }
}

}  // namespace

std::vector<ChunkJob> ChunkJobsOf(const std::vector<ReadRequest>& requests, int64_t block_bytes) {
  std::map<const IndexedChunk*, ChunkJob> jobs;
  for (const ReadRequest& request : requests) {
    const ReadTarget& target = request.target;
    const int64_t element = BitsOf(target.stored->type) / 8;
    for (const IndexedChunk& chunk : target.stored->chunks) {
      const std::optional<Box> region = Intersect(target.box, chunk.box);
      if (!region.has_value()) continue;
      ChunkJob& job = jobs[&chunk];
      job.key = target.key;
      job.stored = target.stored;
      job.chunk = &chunk;
      job.payload_offset = chunk.offset;
      job.parts.push_back(
          {RunsOf(*region, chunk.box, target.box, target.local), target.local, request.filled});
      for (const IndexRange& range : RangesToRead(*region, chunk.box, element)) {
        AddWanted({range.first * element, range.count * element}, block_bytes, job.blocks);
      }
    }
  }
  std::vector<ChunkJob> result;
  for (auto& [chunk, job] : jobs) result.push_back(std::move(job));
  std::ranges::sort(result, [](const ChunkJob& a, const ChunkJob& b) {
    return std::pair(a.chunk->file, a.chunk->offset) < std::pair(b.chunk->file, b.chunk->offset);
  });
  return result;
}

}  // namespace hetero
