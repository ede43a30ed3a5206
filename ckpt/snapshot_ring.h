#ifndef HETERO_CKPT_SNAPSHOT_RING_H_
#define HETERO_CKPT_SNAPSHOT_RING_H_

// Host memory for snapshots one after another. A GPU wants it registered, which takes about half a
// second a GiB: a thread does that beside other work, and what is ready can be used meanwhile.

#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"

namespace hetero {

class SnapshotRing {
 public:
  // What the ring has, or will have, counts in `ledger`, which outlives it.
  explicit SnapshotRing(MemoryLedger& ledger) : ledger_(ledger) {}
  // Waits for the thread, which ends after the piece that it makes.
  ~SnapshotRing();

  SnapshotRing(const SnapshotRing&) = delete;
  SnapshotRing& operator=(const SnapshotRing&) = delete;

  static constexpr int64_t kSlotBytes = kBlockBytes;

  // Of host memory that a new ring takes which is let grow to `bytes`.
  static int64_t MemoryBytes(int64_t bytes);

  // Lets the ring grow to `bytes` or a little more, in whole slots of at least one. It stays as it
  // is where it has as much. Waits for no memory but that of an earlier call. Precondition: no
  // snapshot uses the ring, and `device` is always the same.
  // Errors: those of StartThread.
  absl::Status Prepare(Device device, int64_t bytes);

  // Slots [0, num_slots()) are ready or will be.
  int64_t num_slots() const { return static_cast<int64_t>(slots_.size()); }

  int64_t num_ready() const;
  // Likewise, once these are more than `known`, which is below num_slots().
  // Errors: those of PinnedBuffer::Allocate, when no more will be.
  absl::StatusOr<int64_t> AwaitReady(int64_t known);

  // Precondition: it is ready. Its address is a multiple of kDirectAlignment.
  std::byte* slot(int64_t i) const { return slots_[i]; }

 private:
  absl::Status Grow(Device device, int64_t first);
  void Stop();
  void Count(int64_t memory_bytes);

  MemoryLedger& ledger_;
  int64_t counted_bytes_ = 0;
  // Those that are ready are only read.
  std::vector<std::byte*> slots_;
  // Of the thread, while it runs: the ledger of the rank is not.
  MemoryLedger pieces_ledger_;
  std::vector<PinnedBuffer> pieces_;
  std::thread thread_;

  mutable absl::Mutex mutex_;
  int64_t ready_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool growing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_CKPT_SNAPSHOT_RING_H_
