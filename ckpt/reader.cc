#include "hetero/ckpt/reader.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/read_worker.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using Files = std::map<int, std::unique_ptr<ReadableFile>>;

absl::StatusOr<std::unique_ptr<ReadableFile>> OpenFile(Storage& storage,
                                                       const std::filesystem::path& directory,
                                                       const CheckpointFile& listed,
                                                       std::string_view key) {
  const auto context = absl::StrCat(listed.name, ", which has ", key);
  absl::StatusOr<std::unique_ptr<ReadableFile>> file = storage.Open(directory / listed.name);
  if (absl::IsNotFound(file.status())) {
    return absl::DataLossError(absl::StrCat(context, ": is missing"));
  }
  HETERO_RETURN_IF_ERROR(file.status()).With(context);
  if (listed.bytes >= 0 && (*file)->size() != listed.bytes) {
    return absl::DataLossError(absl::StrCat(context, ": has ", (*file)->size(),
                                            " bytes; the manifest says ", listed.bytes));
  }
  return file;
}

absl::Status CheckInside(const ReadableFile& file, int64_t offset, int64_t bytes) {
  if (offset >= 0 && bytes >= 0 && bytes <= file.size() - offset) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the index says ", bytes, " bytes at ", offset, "; the file has ", file.size()));
}

absl::Status FindPayload(const ReadableFile& file, ChunkJob& job) {
  const StoredTensor tensor{.type = job.stored->type, .shape = job.stored->shape};
  HETERO_ASSIGN_OR_RETURN(
      const TorchItem item,
      ReadStoredItem(file, tensor,
                     {.place = {.offset = job.chunk->offset, .bytes = job.chunk->bytes},
                      .box = job.chunk->box}));
  job.payload_offset += item.payload_offset;
  return absl::OkStatus();
}

struct BlockJob {
  const ChunkJob* chunk = nullptr;
  int64_t block = 0;
  IndexRange bytes;  // of the payload, that are read
};

class Reading {
 public:
  Reading(const CheckpointIndex& index, const Files& files, const std::vector<ChunkJob>& jobs)
      : index_(index), files_(files) {
    for (const ChunkJob& job : jobs) {
      for (const auto& [block, wanted] : job.blocks) {
        blocks_.push_back({&job, block, index.foreign() ? wanted : WholeBlock(job, block)});
      }
    }
  }

  int64_t num_blocks() const { return std::ssize(blocks_); }
  int64_t bytes() const { return bytes_; }

  // Takes blocks until none is left or another thread failed.
  absl::Status Run(ReadWorker& worker) {
    while (!failed_) {
      const size_t next = next_++;
      if (next >= blocks_.size()) break;
      const absl::Status status = Read(blocks_[next], worker);
      if (!status.ok()) {
        failed_ = true;
        return Annotate(status, Describe(blocks_[next]));
      }
    }
    return worker.stream().Synchronize();
  }

 private:
  // What a checksum is of.
  IndexRange WholeBlock(const ChunkJob& job, int64_t block) const {
    const int64_t payload = NumElements(job.chunk->box) * BitsOf(job.stored->type) / 8;
    const int64_t begin = block * index_.block_bytes;
    return {begin, std::min(index_.block_bytes, payload - begin)};
  }

  std::string Describe(const BlockJob& job) const {
    return absl::StrCat(index_.files[job.chunk->chunk->file].name, ", ", job.chunk->key, " ",
                        ToString(job.chunk->chunk->box), ", block ", job.block);
  }

  absl::Status Read(const BlockJob& job, ReadWorker& worker) {
    const ChunkJob& chunk = *job.chunk;
    const int64_t element = BitsOf(chunk.stored->type) / 8;
    const int64_t begin = job.bytes.first, bytes = job.bytes.count;
    HETERO_ASSIGN_OR_RETURN(std::byte* const slot, worker.NextSlot());
    const std::span<std::byte> block(slot, bytes);
    HETERO_RETURN_IF_ERROR(files_.at(chunk.chunk->file)->Read(chunk.payload_offset + begin, block));
    bytes_ += bytes;
    if (!index_.foreign()) {
      const uint32_t expected = index_.block_crc32[chunk.chunk->first_block + job.block];
      const uint32_t actual = Crc32(block);
      if (actual != expected) {
        return absl::DataLossError(
            absl::StrFormat("at offset %d the checksum of %d bytes is %08x; the manifest says %08x",
                            chunk.payload_offset + begin, bytes, actual, expected));
      }
    }
    const IndexRange range{begin / element, bytes / element};
    for (const ChunkPart& part : chunk.parts) {
      const std::byte* from = slot;
      if (const DType to = part.local.dtype(); ElementTypeOf(to) != chunk.stored->type) {
        HETERO_ASSIGN_OR_RETURN(from, worker.Converted(slot, chunk.stored->type, to, range.count));
      }
      int64_t copied = 0;
      HETERO_RETURN_IF_ERROR(
          CopyFromDense(from, range, part.runs, part.local, worker.stream(), copied));
      std::atomic_ref(*part.filled) += copied;
    }
    return worker.Release();
  }

  const CheckpointIndex& index_;
  const Files& files_;
  std::vector<BlockJob> blocks_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<int64_t> bytes_ = 0;
};

}  // namespace

absl::StatusOr<int64_t> ReadTargets(Storage& storage, const std::filesystem::path& directory,
                                    const CheckpointIndex& index,
                                    const std::vector<ReadRequest>& requests, int num_threads,
                                    Device device, MemoryLedger& ledger) {
  std::vector<ChunkJob> jobs = ChunkJobsOf(requests, index.block_bytes);
  Files files;
  for (ChunkJob& job : jobs) {
    const CheckpointFile& listed = index.files[job.chunk->file];
    std::unique_ptr<ReadableFile>& file = files[job.chunk->file];
    if (file == nullptr) {
      HETERO_ASSIGN_OR_RETURN(file, OpenFile(storage, directory, listed, job.key));
    }
    if (index.origin == CheckpointOrigin::kTorch) {
      HETERO_RETURN_IF_ERROR(FindPayload(*file, job))
          .With(absl::StrCat(listed.name, ", ", job.key, " ", ToString(job.chunk->box)));
    }
  }
  Reading reading(index, files, jobs);
  // Made here, as the ledger is this thread's.
  std::vector<std::unique_ptr<ReadWorker>> workers;
  while (std::ssize(workers) < std::min<int64_t>(num_threads, reading.num_blocks())) {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ReadWorker> worker,
                            ReadWorker::Create(device, index.block_bytes, ledger));
    workers.push_back(std::move(worker));
  }
  absl::Mutex mutex;
  absl::Status first;
  std::vector<std::thread> threads;
  const auto run = [&](size_t i) {
    const absl::Status status = CatchExceptions([&] { return reading.Run(*workers[i]); });
    absl::MutexLock lock(&mutex);
    if (first.ok()) first = status;
  };
  for (size_t i = 1; i < workers.size(); ++i) {
    absl::StatusOr<std::thread> thread =
        StartThread("a reader of a checkpoint", [&run, i] { run(i); });
    if (!thread.ok()) break;  // fewer read then, and this one does
    threads.push_back(*std::move(thread));
  }
  if (!workers.empty()) run(0);
  for (std::thread& thread : threads) thread.join();
  HETERO_RETURN_IF_ERROR(first);
  return reading.bytes();
}

absl::StatusOr<nlohmann::json> ReadStoredObject(Storage& storage,
                                                const std::filesystem::path& directory,
                                                const CheckpointIndex& index, std::string_view name,
                                                const IndexedObject& object) {
  const CheckpointFile& listed = index.files[object.file];
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ReadableFile> file,
                          OpenFile(storage, directory, listed, name));
  const std::string context = absl::StrCat(listed.name, ", ", name);
  HETERO_RETURN_IF_ERROR(CheckInside(*file, object.offset, object.bytes)).With(context);
  const FileRange item(*file, object.offset, object.bytes);
  if (!index.foreign()) {
    std::string bytes(object.bytes, '\0');
    HETERO_RETURN_IF_ERROR(item.Read(0, std::as_writable_bytes(std::span(bytes)))).With(context);
    if (const uint32_t actual = Crc32(AsBytes(bytes)); actual != object.crc32) {
      return absl::DataLossError(absl::StrFormat(
          "%s: at offset %d the checksum of %d bytes is %08x; the manifest says %08x", context,
          object.offset, object.bytes, actual, object.crc32));
    }
  }
  absl::StatusOr<nlohmann::json> value = ReadObject(item);
  HETERO_RETURN_IF_ERROR(value.status()).With(context);
  return value;
}

}  // namespace hetero
