#ifndef HETERO_CKPT_SNAPSHOT_H_
#define HETERO_CKPT_SNAPSHOT_H_

// State on its way to files: one thread copies it into a ring of host memory, a thread a file
// takes it from there. The ring bounds memory; while it has room, copying runs at the speed of
// memory and not of the disk.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/base/index_range.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/ckpt/snapshot_ring.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/params/box_map.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Something that lies in a file from `offset` on.
struct FileItem {
  // Of a tensor: a box of it and where it is; of an object neither, but its bytes.
  Box box;
  DType dtype = DType::kF32;
  ConstTensorView local;
  std::vector<RunRows> runs;  // of RunsOf for the box
  // Instead of both: writes elements of the box.
  std::function<absl::Status(int64_t first, int64_t count, std::byte* out)> source;
  std::string object;

  int64_t offset = 0;
  int64_t bytes = 0;  // with what a format puts around the payload
  int64_t payload_offset = 0;
  int64_t payload_bytes = 0;

  // Known when it is written.
  uint32_t crc32 = 0;  // of the payload; of an object all its bytes
  std::vector<uint32_t> block_crc32;
};

// Items follow one another without gaps.
struct FilePlan {
  std::string name;
  int64_t bytes = 0;
  std::vector<FileItem> items;
  uint32_t crc32 = 0;  // known when it is written
};

class Snapshot {
 public:
  // Starts. What `stream` holds now is done before anything is copied. Views stay as they are until
  // AwaitCopied returned, everything else until the end of the snapshot.
  // Errors: those of Event, StartThread and SnapshotRing::Prepare.
  static absl::StatusOr<std::unique_ptr<Snapshot>> Start(Storage& storage,
                                                         std::filesystem::path directory,
                                                         std::vector<FilePlan> files,
                                                         int64_t ring_bytes, SnapshotRing& ring,
                                                         Stream& stream);
  // Waits for the threads.
  ~Snapshot();

  // Threads end soon, as after a failure.
  void Cancel(const absl::Status& why);

  // Returns when all views were read, or something failed.
  void AwaitCopied();
  // Whether the threads are done, or something failed.
  bool IsWritten() const;
  // Waits for the threads; the first failure.
  absl::Status Join();

  // With checksums. Precondition: Join returned OK.
  std::vector<FilePlan> TakeFiles() { return std::move(files_); }
  // Of the start until all views were read and until the end. Precondition: joined.
  absl::Duration copied_after() const { return copied_after_; }
  absl::Duration written_after() const { return written_after_; }
  // How often copying waited for memory of the ring that was not ready. Precondition: joined.
  int64_t ring_waits() const { return ring_waits_; }

 private:
  // A block or less of an item's payload.
  struct Part {
    size_t item = 0;
    size_t block = 0;
    IndexRange elements;  // of the item's box
    int64_t at = 0;       // bytes in the slot
  };
  // What is copied and written through one slot.
  struct Batch {
    size_t file = 0;
    std::vector<Part> parts;
    int64_t slot = -1;
  };

  Snapshot(Storage& storage, std::filesystem::path directory, std::vector<FilePlan> files,
           SnapshotRing& ring, Device device);

  void MakeBatches();
  absl::Status Copy();
  absl::StatusOr<int64_t> TakeSlot(int64_t& known);
  absl::Status CopyBatch(Batch& batch, Stream& stream);
  absl::Status Write(size_t file);
  absl::Status WriteBatch(const Batch& batch, WritableFile& file);
  absl::Status FinishItem(FileItem& item, WritableFile& file, FilePlan& plan);
  void End(const absl::Status& status);

  Storage& storage_;
  const std::filesystem::path directory_;
  std::vector<FilePlan> files_;
  SnapshotRing& ring_;
  const Device device_;
  Event ready_;
  std::vector<Batch> batches_;
  std::vector<Event> copied_events_;  // a slot
  const absl::Time start_;
  absl::Duration copied_after_, written_after_;
  int64_t ring_waits_ = 0;

  mutable absl::Mutex mutex_;
  std::vector<int64_t> free_slots_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<const Batch*>> queues_ ABSL_GUARDED_BY(mutex_);  // a file
  bool copied_ ABSL_GUARDED_BY(mutex_) = false;
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_SNAPSHOT_H_
