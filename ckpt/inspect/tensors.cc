#include "hetero/ckpt/inspect/tensors.h"

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/safetensors/shards.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Of a directory with an index, whose blocks are checked where it has checksums.
class IndexedTensors : public StoredTensors {
 public:
  IndexedTensors(Storage& storage, fs::path directory)
      : storage_(storage), directory_(std::move(directory)) {}

  static absl::StatusOr<std::unique_ptr<StoredTensors>> Open(Storage& storage,
                                                             const fs::path& directory,
                                                             bool foreign) {
    auto tensors = std::make_unique<IndexedTensors>(storage, directory);
    HETERO_ASSIGN_OR_RETURN(const std::string bytes, ReadIndexBytes(storage, directory, foreign));
    HETERO_ASSIGN_OR_RETURN(tensors->index_, ParseIndexBytes(bytes));
    for (const auto& [key, tensor] : tensors->index_.tensors) {
      tensors->heads_[key] = {.type = tensor.type, .shape = tensor.shape};
    }
    return tensors;
  }

  using StoredTensors::Read;
  absl::Status Read(std::string_view key, const Box& box, std::span<std::byte> out) const override {
    const auto& [stored_key, tensor] = *index_.tensors.find(key);
    const std::optional<DType> dtype = DTypeOf(tensor.type);
    if (!dtype.has_value()) {
      return absl::UnimplementedError(
          absl::StrCat(key, ": elements of ", Name(tensor.type), " are not read"));
    }
    int64_t filled = 0;
    const ReadRequest request = {.target = {.stored = &tensor,
                                            .key = stored_key,
                                            .box = box,
                                            .local = TensorView(out.data(), *dtype, box.size)},
                                 .filled = &filled};
    MemoryLedger ledger;
    return ReadTargets(storage_, directory_, index_, {request}, 1, Device{}, ledger).status();
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

  using StoredTensors::Read;
  absl::Status Read(std::string_view key, const Box& box, std::span<std::byte> out) const override {
    const TensorHead& head = heads_.find(key)->second;
    int64_t first = 0;
    for (size_t d = 0; d < head.shape.size(); ++d) {
      first = first * head.shape[d] + box.offset[d];
    }
    return reader_->Read(key, first * BitsOf(head.type) / 8, out);
  }

 private:
  std::unique_ptr<SafetensorsReader> reader_;
};

absl::StatusOr<bool> HasSafetensorsShards(Storage& storage, const fs::path& path) {
  if (!storage.IsDirectory(path) || storage.Exists(path / kSafetensorsIndexName)) return false;
  HETERO_ASSIGN_OR_RETURN(const auto shards, ReadSafetensorsShards(storage, path));
  return !shards.empty();
}

}  // namespace

std::string TensorHead::ToString() const {
  return absl::StrCat(Name(type), " [", absl::StrJoin(shape, ","), "]");
}

absl::StatusOr<std::vector<std::byte>> StoredTensors::Read(std::string_view key) const {
  const TensorHead& head = heads_.find(key)->second;
  HETERO_ASSIGN_OR_RETURN(const int64_t bytes, PayloadBytes(head.type, head.shape));
  std::vector<std::byte> whole(bytes);
  HETERO_RETURN_IF_ERROR(Read(key, WholeBox(head.shape), whole));
  return whole;
}

absl::StatusOr<std::unique_ptr<StoredTensors>> StoredTensors::Open(Storage& storage,
                                                                   const fs::path& path) {
  const CheckpointKind kind = KindOfCheckpoint(storage, path);
  if (IsCommitted(storage, path) || kind == CheckpointKind::kOurs) {
    HETERO_RETURN_IF_ERROR(CheckComplete(storage, path).status());
    return IndexedTensors::Open(storage, path, /*foreign=*/false);
  }
  HETERO_ASSIGN_OR_RETURN(const bool sharded, HasSafetensorsShards(storage, path));
  if (kind == CheckpointKind::kForeign || storage.Exists(path / kTorchMetadataName) || sharded) {
    return IndexedTensors::Open(storage, path, /*foreign=*/true);
  }
  return SafetensorsTensors::Open(storage, path);
}

}  // namespace hetero
