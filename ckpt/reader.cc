#include "hetero/ckpt/reader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/index_range.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

// What one target takes from a chunk.
struct Part {
  std::vector<RunRows> runs;
  TensorView local;
  int64_t* filled = nullptr;
};

struct ChunkJob {
  std::string_view key;
  const IndexedTensor* stored = nullptr;
  const IndexedChunk* chunk = nullptr;
  int64_t payload_offset = 0;
  std::vector<Part> parts;
  // Blocks with wanted elements: from the first to the last byte of those, in the payload.
  std::map<int64_t, IndexRange> blocks;
};

struct BlockJob {
  const ChunkJob* chunk = nullptr;
  int64_t block = 0;
  IndexRange bytes;  // of the payload, that are read
};

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

std::vector<ChunkJob> JobsOf(const std::vector<ReadRequest>& requests, int64_t block_bytes) {
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
  // As they lie in the files.
  std::ranges::sort(result, [](const ChunkJob& a, const ChunkJob& b) {
    return std::pair(a.chunk->file, a.chunk->offset) < std::pair(b.chunk->file, b.chunk->offset);
  });
  return result;
}

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

template <typename From, typename To>
void Cast(const void* from, void* to, int64_t count) {
  const auto* const source = static_cast<const From*>(from);
  auto* const target = static_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) target[i] = To(static_cast<float>(source[i]));
}

// Precondition: LoadOptions::cast has the pair.
void Cast(ElementType type, const void* from, DType to, void* target, int64_t count) {
  if (type == ElementType::kF32) {
    return to == DType::kBF16 ? Cast<float, BFloat16>(from, target, count)
                              : Cast<float, double>(from, target, count);
  }
  return to == DType::kF32 ? Cast<BFloat16, float>(from, target, count)
                           : Cast<BFloat16, double>(from, target, count);
}

// A thread's memory and queue.
class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Create(Device device, int64_t block_bytes) {
    std::unique_ptr<Worker> worker(new Worker);
    HETERO_ASSIGN_OR_RETURN(worker->stream_, Stream::Create(device, worker->no_workspace_));
    for (Slot& slot : worker->slots_) {
      HETERO_ASSIGN_OR_RETURN(slot.memory,
                              PinnedBuffer::Allocate(device, block_bytes + kDirectAlignment));
      const auto address = reinterpret_cast<uintptr_t>(slot.memory.address());
      slot.bytes = reinterpret_cast<std::byte*>(RoundUp(address, uintptr_t{kDirectAlignment}));
      HETERO_ASSIGN_OR_RETURN(slot.free, Event::Create(device));
    }
    return worker;
  }

  Stream& stream() { return *stream_; }

  // Memory that no copy reads any more.
  absl::StatusOr<std::byte*> NextSlot() {
    current_ = (current_ + 1) % slots_.size();
    HETERO_RETURN_IF_ERROR(slots_[current_].free.Synchronize());
    return slots_[current_].bytes;
  }
  // The slot is in use until what the stream holds now is done.
  absl::Status Release() { return slots_[current_].free.Record(*stream_); }

  // `count` elements as `to`, in memory beside the slot, which the stream has stopped to read.
  absl::StatusOr<const std::byte*> Converted(const std::byte* from, ElementType type, DType to,
                                             int64_t count) {
    HETERO_RETURN_IF_ERROR(stream_->Synchronize());
    converted_.resize(count * SizeOf(to));
    Cast(type, from, to, converted_.data(), count);
    return converted_.data();
  }

 private:
  struct Slot {
    PinnedBuffer memory;
    std::byte* bytes = nullptr;
    Event free;
  };

  Worker() : no_workspace_(Arena::Counting(MemoryLabel::kWorkspace)) {}

  Arena no_workspace_;
  std::unique_ptr<Stream> stream_;
  std::array<Slot, 2> slots_;
  std::vector<std::byte> converted_;
  size_t current_ = 0;
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
  absl::Status Run(Device device) {
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker,
                            Worker::Create(device, index_.block_bytes));
    while (!failed_) {
      const size_t next = next_++;
      if (next >= blocks_.size()) break;
      const absl::Status status = Read(blocks_[next], *worker);
      if (!status.ok()) {
        failed_ = true;
        return Annotate(status, Describe(blocks_[next]));
      }
    }
    return worker->stream().Synchronize();
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

  absl::Status Read(const BlockJob& job, Worker& worker) {
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
    for (const Part& part : chunk.parts) {
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
                                    Device device) {
  std::vector<ChunkJob> jobs = JobsOf(requests, index.block_bytes);
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
  absl::Mutex mutex;
  absl::Status first;
  std::vector<std::thread> threads;
  const auto run = [&] {
    const absl::Status status = CatchExceptions([&] { return reading.Run(device); });
    absl::MutexLock lock(&mutex);
    if (first.ok()) first = status;
  };
  const int64_t wanted = std::min<int64_t>(num_threads, reading.num_blocks());
  for (int64_t i = 1; i < wanted; ++i) {
    absl::StatusOr<std::thread> thread = StartThread("a reader of a checkpoint", run);
    if (!thread.ok()) break;  // fewer read then, and this one does
    threads.push_back(*std::move(thread));
  }
  if (wanted > 0) run();
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
