#include "hetero/ckpt/snapshot.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/tensor/arena.h"

namespace hetero {

Snapshot::Snapshot(Storage& storage, std::filesystem::path directory, std::vector<FilePlan> files,
                   SnapshotRing& ring, Device device)
    : storage_(storage),
      directory_(std::move(directory)),
      files_(std::move(files)),
      ring_(ring),
      device_(device),
      start_(absl::Now()) {}

absl::StatusOr<std::unique_ptr<Snapshot>> Snapshot::Start(Storage& storage,
                                                          std::filesystem::path directory,
                                                          std::vector<FilePlan> files,
                                                          int64_t ring_bytes, SnapshotRing& ring,
                                                          Stream& stream) {
  std::unique_ptr<Snapshot> snapshot(
      new Snapshot(storage, std::move(directory), std::move(files), ring, stream.device()));
  HETERO_ASSIGN_OR_RETURN(snapshot->ready_, Event::Create(stream.device()));
  HETERO_RETURN_IF_ERROR(snapshot->ready_.Record(stream));
  HETERO_RETURN_IF_ERROR(ring.Prepare(stream.device(), ring_bytes));
  snapshot->copied_events_.resize(ring.num_slots());
  snapshot->MakeBatches();
  Snapshot* const self = snapshot.get();
  const auto start = [self](std::string_view what, auto work) -> absl::Status {
    {
      absl::MutexLock lock(&self->mutex_);
      ++self->running_;
    }
    absl::StatusOr<std::thread> thread =
        StartThread(what, [self, work] { self->End(CatchExceptions(work)); });
    if (!thread.ok()) {
      self->End(thread.status());
      return thread.status();
    }
    self->threads_.push_back(*std::move(thread));
    return absl::OkStatus();
  };
  HETERO_RETURN_IF_ERROR(start("the copy of a checkpoint", [self] { return self->Copy(); }));
  for (size_t file = 0; file < self->files_.size(); ++file) {
    HETERO_RETURN_IF_ERROR(
        start("the writer of a checkpoint", [self, file] { return self->Write(file); }));
  }
  return snapshot;
}

Snapshot::~Snapshot() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

// A batch holds blocks of one file that follow each other; files take turns, so that all writers
// have work.
void Snapshot::MakeBatches() {
  std::vector<std::vector<Batch>> of_files(files_.size());
  for (size_t f = 0; f < files_.size(); ++f) {
    int64_t used = SnapshotRing::kSlotBytes;
    for (size_t i = 0; i < files_[f].items.size(); ++i) {
      FileItem& item = files_[f].items[i];
      if (item.payload_bytes == 0) continue;
      const int64_t element = SizeOf(item.dtype);
      item.block_crc32.resize((item.payload_bytes + kBlockBytes - 1) / kBlockBytes);
      for (size_t block = 0; block < item.block_crc32.size(); ++block) {
        const int64_t begin = static_cast<int64_t>(block) * kBlockBytes;
        const int64_t bytes = std::min(kBlockBytes, item.payload_bytes - begin);
        if (used + bytes > SnapshotRing::kSlotBytes) {
          of_files[f].push_back({.file = f});
          used = 0;
        }
        of_files[f].back().parts.push_back({.item = i,
                                            .block = block,
                                            .elements = {begin / element, bytes / element},
                                            .at = used});
        used = RoundUp(used + bytes, kDirectAlignment);
      }
    }
  }
  for (size_t turn = 0;; ++turn) {
    const size_t before = batches_.size();
    for (std::vector<Batch>& batches : of_files) {
      if (turn < batches.size()) batches_.push_back(std::move(batches[turn]));
    }
    if (batches_.size() == before) break;
  }
  absl::MutexLock lock(&mutex_);
  queues_.resize(files_.size());
}

// A slot to fill, or -1 when the snapshot has failed. Memory that is not ready yet is waited for
// only while all that is ready is in use. `known`: slots that were ready so far.
absl::StatusOr<int64_t> Snapshot::TakeSlot(int64_t& known) {
  if (known < ring_.num_slots()) {
    {
      absl::MutexLock lock(&mutex_);
      if (!status_.ok()) return -1;
      if (!free_slots_.empty()) {
        const int64_t slot = free_slots_.back();
        free_slots_.pop_back();
        return slot;
      }
    }
    if (ring_.num_ready() == known) ++ring_waits_;
    HETERO_ASSIGN_OR_RETURN(const int64_t ready, ring_.AwaitReady(known));
    for (int64_t i = known; i < ready; ++i) {
      HETERO_ASSIGN_OR_RETURN(copied_events_[i], Event::Create(device_));
    }
    absl::MutexLock lock(&mutex_);
    for (int64_t i = ready; i-- > known;) free_slots_.push_back(i);
    known = ready;
  }
  const auto may_go_on = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !free_slots_.empty() || !status_.ok();
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&may_go_on));
  if (!status_.ok()) return -1;
  const int64_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

absl::Status Snapshot::Copy() {
  Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream,
                          Stream::Create(device_, no_workspace));
  HETERO_RETURN_IF_ERROR(ready_.MakeWait(*stream));
  int64_t known = 0;
  for (Batch& batch : batches_) {
    HETERO_ASSIGN_OR_RETURN(batch.slot, TakeSlot(known));
    if (batch.slot < 0) break;
    HETERO_RETURN_IF_ERROR(CopyBatch(batch, *stream));
    absl::MutexLock lock(&mutex_);
    queues_[batch.file].push_back(&batch);
  }
  HETERO_RETURN_IF_ERROR(stream->Synchronize());
  copied_after_ = absl::Now() - start_;
  absl::MutexLock lock(&mutex_);
  copied_ = true;
  return absl::OkStatus();
}

absl::Status Snapshot::CopyBatch(Batch& batch, Stream& stream) {
  for (const Part& part : batch.parts) {
    const FileItem& item = files_[batch.file].items[part.item];
    std::byte* const out = ring_.slot(batch.slot) + part.at;
    if (item.source != nullptr) {
      HETERO_RETURN_IF_ERROR(item.source(part.elements.first, part.elements.count, out));
      continue;
    }
    int64_t copied = 0;
    HETERO_RETURN_IF_ERROR(CopyToDense(item.local, item.runs, part.elements, out, stream, copied));
  }
  return copied_events_[batch.slot].Record(stream);
}

absl::Status Snapshot::Write(size_t index) {
  FilePlan& plan = files_[index];
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file,
                          storage_.Create(directory_ / plan.name));
  HETERO_RETURN_IF_ERROR(file->Allocate(plan.bytes));
  size_t num_batches = 0;
  for (const Batch& batch : batches_) num_batches += batch.file == index ? 1 : 0;
  for (size_t done = 0; done < num_batches; ++done) {
    const Batch* batch = nullptr;
    {
      const auto may_go_on = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return queues_[index].size() > done || !status_.ok();
      };
      absl::MutexLock lock(&mutex_, absl::Condition(&may_go_on));
      if (!status_.ok()) return absl::OkStatus();
      batch = queues_[index][done];
    }
    HETERO_RETURN_IF_ERROR(copied_events_[batch->slot].Synchronize());
    HETERO_RETURN_IF_ERROR(WriteBatch(*batch, *file));
    absl::MutexLock lock(&mutex_);
    free_slots_.push_back(batch->slot);
  }
  for (FileItem& item : plan.items) HETERO_RETURN_IF_ERROR(FinishItem(item, *file, plan));
  HETERO_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

absl::Status Snapshot::WriteBatch(const Batch& batch, WritableFile& file) {
  for (const Part& part : batch.parts) {
    FileItem& item = files_[batch.file].items[part.item];
    const int64_t bytes = part.elements.count * SizeOf(item.dtype);
    const std::span<const std::byte> payload(ring_.slot(batch.slot) + part.at, bytes);
    item.block_crc32[part.block] = Crc32(payload);
    HETERO_RETURN_IF_ERROR(
        file.Write(item.payload_offset + static_cast<int64_t>(part.block) * kBlockBytes, payload));
  }
  return absl::OkStatus();
}

// What stands around the payload depends on its checksum.
absl::Status Snapshot::FinishItem(FileItem& item, WritableFile& file, FilePlan& plan) {
  if (!item.object.empty()) {
    item.crc32 = Crc32(AsBytes(item.object));
    plan.crc32 = Crc32Combine(plan.crc32, item.crc32, item.bytes);
    return file.Write(item.offset, AsBytes(item.object));
  }
  for (size_t block = 0; block < item.block_crc32.size(); ++block) {
    const int64_t begin = static_cast<int64_t>(block) * kBlockBytes;
    item.crc32 = Crc32Combine(item.crc32, item.block_crc32[block],
                              std::min(kBlockBytes, item.payload_bytes - begin));
  }
  const ElementType type = ElementTypeOf(item.dtype);
  const auto [head, tail] = MakeItemEnds(type, item.box.size, item.crc32, item.offset);
  plan.crc32 = Crc32Combine(plan.crc32, Crc32(AsBytes(head)), std::ssize(head));
  plan.crc32 = Crc32Combine(plan.crc32, item.crc32, item.payload_bytes);
  plan.crc32 = Crc32Combine(plan.crc32, Crc32(AsBytes(tail)), std::ssize(tail));
  HETERO_RETURN_IF_ERROR(file.Write(item.offset, AsBytes(head)));
  return file.Write(item.payload_offset + item.payload_bytes, AsBytes(tail));
}

void Snapshot::End(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (status_.ok()) status_ = status;
  if (--running_ == 0) written_after_ = absl::Now() - start_;
}

void Snapshot::Cancel(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (status_.ok()) status_ = why;
}

void Snapshot::AwaitCopied() {
  // After a failure the copying thread may still be at work on one batch.
  const auto done = [this]()
                        ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return copied_ || running_ == 0; };
  absl::MutexLock lock(&mutex_, absl::Condition(&done));
}

bool Snapshot::IsWritten() const {
  absl::MutexLock lock(&mutex_);
  return running_ == 0 || !status_.ok();
}

absl::Status Snapshot::Join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  absl::MutexLock lock(&mutex_);
  return status_;
}

}  // namespace hetero
