#include "hetero/ckpt/weights/export.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/name_pattern.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCreator = 0;

// Of `copied_from` those that the options name.
std::vector<SafetensorsTensor> CopiedTensors(const ExportOptions& options) {
  std::vector<SafetensorsTensor> copied;
  if (options.copied_from == nullptr) return copied;
  for (const auto& [name, tensor] : options.copied_from->tensors()) {
    const auto fits = [&](const std::string& pattern) { return MatchesPattern(name, pattern); };
    if (std::ranges::any_of(options.copied, fits)) copied.push_back(tensor);
  }
  return copied;
}

absl::StatusOr<SafetensorsPlan> PlanFiles(const WorldPlan& plan,
                                          const std::vector<SafetensorsTensor>& copied,
                                          const ExportOptions& options) {
  std::vector<SafetensorsTensor> tensors = copied;
  for (const auto& [key, tensor] : plan.tensors) {
    tensors.push_back({.name = key, .type = ElementTypeOf(tensor.dtype), .shape = tensor.shape});
  }
  std::ranges::sort(tensors, {}, &SafetensorsTensor::name);
  if (!options.file_name.empty()) {
    return PlanSafetensorsFile(options.file_name, std::move(tensors), options.metadata);
  }
  return PlanSafetensors(std::move(tensors),
                         {.max_file_bytes = options.max_file_bytes, .metadata = options.metadata});
}

// A file of another export beside those of this one would be taken for a part of the model.
absl::Status PrepareFolder(Storage& storage, const fs::path& folder, const ExportOptions& options) {
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
  if (!options.file_name.empty()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(folder));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".safetensors") && name != kSafetensorsIndexName) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(folder.native(), " has ", name, "; name a folder without a model"));
  }
  return absl::OkStatus();
}

// Writes elements through memory of a bounded size.
class PieceWriter {
 public:
  PieceWriter(SafetensorsWriter& writer, std::span<std::byte> buffer, Stream& stream)
      : writer_(writer), buffer_(buffer), stream_(stream) {}

  int64_t bytes_written() const { return bytes_written_; }

  absl::Status Write(const CheckpointTensor& tensor, const CheckpointTensor::Piece& piece) {
    const std::vector<RunRows> runs =
        RunsOf(piece.box, WholeBox(tensor.shape), piece.box, piece.local);
    const int64_t element = SizeOf(tensor.dtype);
    const int64_t most = std::ssize(buffer_) / element;
    const RunRows& last = runs.back();
    const int64_t end = last.dense + (last.rows - 1) * last.dense_stride + last.run;
    for (int64_t begin = runs.front().dense; begin < end; begin += most) {
      const IndexRange range{begin, std::min(most, end - begin)};
      int64_t copied = 0;
      HETERO_RETURN_IF_ERROR(
          CopyToDense(piece.local, runs, range, buffer_.data(), stream_, copied));
      if (copied == 0) continue;
      HETERO_RETURN_IF_ERROR(stream_.Synchronize());
      HETERO_RETURN_IF_ERROR(WriteInside(tensor.key, runs, range, element));
    }
    return absl::OkStatus();
  }

  absl::Status Copy(const SafetensorsReader& from, const SafetensorsTensor& tensor) {
    for (int64_t begin = 0; begin < tensor.bytes(); begin += std::ssize(buffer_)) {
      const std::span<std::byte> part =
          buffer_.first(std::min<size_t>(buffer_.size(), tensor.bytes() - begin));
      HETERO_RETURN_IF_ERROR(from.Read(tensor.name, begin, part));
      HETERO_RETURN_IF_ERROR(Put(tensor.name, begin, part));
    }
    return absl::OkStatus();
  }

 private:
  // What of `runs` is in `range`, which the buffer has.
  absl::Status WriteInside(std::string_view key, std::span<const RunRows> runs, IndexRange range,
                           int64_t element) {
    std::vector<RunRows> parts;
    for (const RunRows& run : runs) AppendInside(run, range, parts);
    for (RunRows& part : parts) {
      if (part.dense_stride == part.run) {
        part.run *= std::exchange(part.rows, 1);
      }
      for (int64_t row = 0; row < part.rows; ++row) {
        const int64_t first = part.dense + row * part.dense_stride;
        HETERO_RETURN_IF_ERROR(
            Put(key, first * element,
                buffer_.subspan((first - range.first) * element, part.run * element)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Put(std::string_view name, int64_t offset, std::span<const std::byte> bytes) {
    bytes_written_ += std::ssize(bytes);
    return writer_.Write(name, offset, bytes);
  }

  SafetensorsWriter& writer_;
  std::span<std::byte> buffer_;
  Stream& stream_;
  int64_t bytes_written_ = 0;
};

// Of a box that this rank has twice one is written.
absl::Status WriteOwned(const std::vector<CheckpointTensor>& tensors, const WorldPlan& plan,
                        int64_t rank, PieceWriter& pieces) {
  std::set<const WorldShard*> written;
  for (const CheckpointTensor& tensor : tensors) {
    const std::vector<WorldShard>& shards = plan.tensors.find(tensor.key)->second.shards;
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      if (NumElements(piece.box) == 0) continue;
      const WorldShard& shard = *std::ranges::lower_bound(shards, piece.box, {}, &WorldShard::box);
      if (shard.owner != rank || !written.insert(&shard).second) continue;
      HETERO_RETURN_IF_ERROR(pieces.Write(tensor, piece)).With(tensor.key);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExportReport> ExportWeights(Storage& storage, const fs::path& folder,
                                           std::vector<CheckpointTensor> tensors,
                                           Exchange& exchange, const ExportOptions& options,
                                           Stream& stream, MemoryLedger& ledger) {
  const CheckpointState state{.tensors = std::move(tensors)};
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> descriptions,
                          exchange.AllGather(DescribeState(state), "weights.state"));
  HETERO_ASSIGN_OR_RETURN(const WorldPlan plan, MakeWorldPlan(descriptions, Distribution::kSave));
  const std::vector<SafetensorsTensor> copied = CopiedTensors(options);
  HETERO_ASSIGN_OR_RETURN(const SafetensorsPlan files, PlanFiles(plan, copied, options));

  const bool creates = exchange.rank() == kCreator;
  absl::StatusOr<std::unique_ptr<SafetensorsWriter>> writer = nullptr;
  const auto create = [&]() -> absl::Status {
    HETERO_RETURN_IF_ERROR(PrepareFolder(storage, folder, options));
    writer = SafetensorsWriter::Create(storage, folder, files);
    return writer.status();
  };
  HETERO_RETURN_IF_ERROR(exchange.Agree(creates ? create() : absl::OkStatus(), "weights.create"));
  ExportReport report{.tensors = std::ssize(plan.tensors) + std::ssize(copied),
                      .files = std::ssize(files.files)};
  for (const SafetensorsPlan::File& file : files.files) report.bytes += file.header.buffer_bytes();

  const auto write = [&]() -> absl::Status {
    if (!creates) {
      writer = SafetensorsWriter::Join(storage, folder, files);
      HETERO_RETURN_IF_ERROR(writer.status());
    }
    HETERO_ASSIGN_OR_RETURN(const PinnedBuffer memory,
                            PinnedBuffer::Allocate(stream.device(), options.buffer_bytes, ledger));
    PieceWriter pieces(
        **writer,
        {static_cast<std::byte*>(memory.address()), static_cast<size_t>(options.buffer_bytes)},
        stream);
    HETERO_RETURN_IF_ERROR(WriteOwned(state.tensors, plan, exchange.rank(), pieces));
    for (const SafetensorsTensor& tensor : copied) {
      if (!creates) break;
      HETERO_RETURN_IF_ERROR(pieces.Copy(*options.copied_from, tensor));
    }
    report.bytes_written = pieces.bytes_written();
    return creates ? absl::OkStatus() : (*writer)->Close();
  };
  HETERO_RETURN_IF_ERROR(exchange.Agree(write(), "weights.write"));
  HETERO_RETURN_IF_ERROR(
      exchange.Agree(creates ? (*writer)->Close() : absl::OkStatus(), "weights.close"));
  return report;
}

}  // namespace hetero
