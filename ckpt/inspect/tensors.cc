#include "hetero/ckpt/inspect/tensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Puts the elements of a box, row-major, at their places among those of the whole tensor.
void PlaceBox(std::span<const std::byte> elements, const Box& box, std::span<const int64_t> shape,
              int64_t element_bytes, std::span<std::byte> whole) {
  if (elements.empty()) return;
  // The last dims that the box has whole and one more make up runs that lie together in both.
  size_t dims = shape.size();
  int64_t run = element_bytes;
  while (dims > 0 && box.size[dims - 1] == shape[dims - 1]) run *= shape[--dims];
  if (dims > 0) run *= box.size[--dims];
  std::vector<int64_t> at(dims, 0);
  for (size_t done = 0; done < elements.size(); done += run) {
    int64_t place = 0;
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      place = place * shape[dim] + box.offset[dim] + (dim < dims ? at[dim] : 0);
    }
    std::memcpy(whole.data() + place * element_bytes, elements.data() + done, run);
    for (size_t dim = dims; dim > 0 && ++at[dim - 1] == box.size[dim - 1]; --dim) at[dim - 1] = 0;
  }
}

class ManifestTensors : public StoredTensors {
 public:
  static absl::StatusOr<std::unique_ptr<StoredTensors>> Open(Storage& storage,
                                                             const fs::path& directory) {
    HETERO_ASSIGN_OR_RETURN(const std::string text, CheckComplete(storage, directory));
    auto tensors = std::make_unique<ManifestTensors>();
    HETERO_ASSIGN_OR_RETURN(tensors->manifest_, ParseManifest(text));
    for (const ManifestFile& file : tensors->manifest_.files) {
      HETERO_ASSIGN_OR_RETURN(tensors->files_.emplace_back(), storage.Open(directory / file.name));
    }
    for (const auto& [key, tensor] : tensors->manifest_.tensors) {
      tensors->heads_[key] = {.type = tensor.type, .shape = tensor.shape};
    }
    return tensors;
  }

  absl::StatusOr<std::vector<std::byte>> Read(std::string_view key) const override {
    const ManifestTensor& tensor = manifest_.tensors.at(std::string(key));
    HETERO_ASSIGN_OR_RETURN(const int64_t bytes, PayloadBytes(tensor.type, tensor.shape));
    const int bits = BitsOf(tensor.type);
    if (bits % 8 != 0 && tensor.chunks.size() > 1) {
      return absl::UnimplementedError(
          absl::StrCat(key, ": elements of ", Name(tensor.type), " in several chunks"));
    }
    std::vector<std::byte> whole(bytes);
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      const ManifestChunk& chunk = tensor.chunks[i];
      // A chunk that is all of the tensor needs no second copy.
      const bool all = tensor.chunks.size() == 1;
      std::vector<std::byte> part(all ? 0 : chunk.bytes);
      const std::span<std::byte> elements = all ? std::span(whole) : std::span(part);
      HETERO_RETURN_IF_ERROR(files_[chunk.file]->Read(chunk.offset, elements)).With(key);
      if (const uint32_t crc = Crc32(elements); crc != chunk.crc32) {
        return absl::DataLossError(absl::StrFormat(
            "%s, tensor \"%s\", chunk %d, %d bytes at %d: crc32 is %08x, expected %08x",
            manifest_.files[chunk.file].name, key, i, chunk.bytes, chunk.offset, crc, chunk.crc32));
      }
      if (!all) PlaceBox(elements, chunk.box, tensor.shape, bits / 8, whole);
    }
    return whole;
  }

 private:
  Manifest manifest_;
  std::vector<std::unique_ptr<ReadableFile>> files_;
};

// Of other programs, without checksums.
class ForeignTensors : public StoredTensors {
 public:
  ForeignTensors(Storage& storage, fs::path directory)
      : storage_(storage), directory_(std::move(directory)) {}

  static absl::StatusOr<std::unique_ptr<StoredTensors>> Open(Storage& storage,
                                                             const fs::path& directory) {
    auto tensors = std::make_unique<ForeignTensors>(storage, directory);
    HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                            ReadIndexBytes(storage, directory, /*foreign=*/true));
    HETERO_ASSIGN_OR_RETURN(tensors->index_, ParseIndexBytes(bytes));
    for (const auto& [key, tensor] : tensors->index_.tensors) {
      tensors->heads_[key] = {.type = tensor.type, .shape = tensor.shape};
    }
    return tensors;
  }

  absl::StatusOr<std::vector<std::byte>> Read(std::string_view key) const override {
    const auto& [stored_key, tensor] = *index_.tensors.find(key);
    const std::optional<DType> dtype = DTypeOf(tensor.type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(absl::StrCat(key, ": elements of ", Name(tensor.type),
                                                   " of other programs are not read"));
    }
    std::vector<std::byte> whole(NumElements(tensor.shape) * SizeOf(*dtype));
    int64_t filled = 0;
    const ReadRequest request = {
        .target = {.stored = &tensor,
                   .key = stored_key,
                   .box = WholeBox(tensor.shape),
                   .local = TensorView(whole.data(), *dtype, tensor.shape)},
        .filled = &filled};
    HETERO_RETURN_IF_ERROR(ReadTargets(storage_, directory_, index_, {request}, 1, Device{}));
    return whole;
  }

 private:
  Storage& storage_;
  fs::path directory_;
  CheckpointIndex index_;
};

class SafetensorsTensors : public StoredTensors {
 public:
  static absl::StatusOr<std::unique_ptr<StoredTensors>> Open(Storage& storage,
                                                             const fs::path& path) {
    auto tensors = std::make_unique<SafetensorsTensors>();
    HETERO_ASSIGN_OR_RETURN(tensors->reader_, SafetensorsReader::Open(storage, path));
    for (const auto& [name, tensor] : tensors->reader_->tensors()) {
      tensors->heads_[name] = {.type = tensor.type, .shape = tensor.shape};
    }
    const auto& metadata = tensors->reader_->metadata();
    if (const auto order = metadata.find("order"); order != metadata.end()) {
      tensors->order_ = absl::StrSplit(order->second, '\n');
    }
    return tensors;
  }

  absl::StatusOr<std::vector<std::byte>> Read(std::string_view key) const override {
    HETERO_ASSIGN_OR_RETURN(const SafetensorsTensor* const tensor, reader_->Find(key));
    std::vector<std::byte> whole(tensor->bytes());
    HETERO_RETURN_IF_ERROR(reader_->Read(key, 0, whole));
    return whole;
  }

 private:
  std::unique_ptr<SafetensorsReader> reader_;
};

}  // namespace

std::string TensorHead::ToString() const {
  return absl::StrCat(Name(type), " [", absl::StrJoin(shape, ","), "]");
}

absl::StatusOr<std::unique_ptr<StoredTensors>> StoredTensors::Open(Storage& storage,
                                                                   const fs::path& path) {
  if (IsCommitted(storage, path)) return ManifestTensors::Open(storage, path);
  switch (KindOfCheckpoint(storage, path)) {
    case CheckpointKind::kOurs:
      return ManifestTensors::Open(storage, path);
    case CheckpointKind::kForeign:
      return ForeignTensors::Open(storage, path);
    case CheckpointKind::kNone:
      return SafetensorsTensors::Open(storage, path);
  }
  return absl::InternalError("no kind of checkpoint");
}

}  // namespace hetero
