#ifndef HETERO_CKPT_READ_WORKER_H_
#define HETERO_CKPT_READ_WORKER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Memory of a thread that reads blocks of files for a device, and the queue to that: one block is
// read while another is copied. Used by one thread at a time.
class ReadWorker {
 public:
  // Slots have `block_bytes` and are aligned for direct reads. `ledger` outlives the worker.
  static absl::StatusOr<std::unique_ptr<ReadWorker>> Create(Device device, int64_t block_bytes,
                                                            MemoryLedger& ledger);

  Stream& stream() { return *stream_; }

  // Memory that no copy reads any more.
  absl::StatusOr<std::byte*> NextSlot();
  // The slot is in use until what the stream holds now is done.
  absl::Status Release() { return slots_[current_].free.Record(*stream_); }

  // `count` elements as `to`, in memory beside the slot, which the stream has stopped to read.
  // Precondition: LoadOptions::cast has the pair.
  absl::StatusOr<const std::byte*> Converted(const std::byte* from, ElementType type, DType to,
                                             int64_t count);

 private:
  struct Slot {
    PinnedBuffer memory;
    std::byte* bytes = nullptr;
    Event free;
  };

  ReadWorker() : no_workspace_(Arena::Counting(MemoryLabel::kWorkspace)) {}

  Arena no_workspace_;
  std::unique_ptr<Stream> stream_;
  std::array<Slot, 2> slots_;
  std::vector<std::byte> converted_;
  size_t current_ = 0;
};

}  // namespace hetero

#endif  // HETERO_CKPT_READ_WORKER_H_
