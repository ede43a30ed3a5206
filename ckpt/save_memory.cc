#include "hetero/ckpt/save_memory.h"

#include <algorithm>
#include <iterator>

#include "hetero/ckpt/snapshot_ring.h"

namespace hetero {
namespace {

// Two blocks a file: one is filled while the other is written.
int64_t LeastRing(int64_t num_files) { return 2 * SnapshotRing::kSlotBytes * num_files; }

// What is constant may have a file of its own.
int64_t LeastRing(const SaveOptions& options) {
  return LeastRing(options.num_files + (options.incremental ? 1 : 0));
}

int64_t GivenRing(const SaveOptions& options) {
  return std::max(LeastRing(options), options.ring_bytes);
}

}  // namespace

int64_t RingBytes(const std::vector<FilePlan>& files, const SaveOptions& options) {
  if (options.ring_bytes > 0) return GivenRing(options);
  int64_t written = 0;
  for (const FilePlan& file : files) written += file.bytes;
  return std::max(LeastRing(std::ssize(files)), written / 4);
}

int64_t SaveMemoryBytes(const SaveOptions& options) {
  return SnapshotRing::MemoryBytes(GivenRing(options));
}

int64_t LargestRing(int64_t memory_bytes, const SaveOptions& options) {
  int64_t ring = memory_bytes / SnapshotRing::kSlotBytes * SnapshotRing::kSlotBytes;
  while (ring > 0 && SnapshotRing::MemoryBytes(ring) > memory_bytes) {
    ring -= SnapshotRing::kSlotBytes;
  }
  return ring >= LeastRing(options) ? ring : 0;
}

}  // namespace hetero
