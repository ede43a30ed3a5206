#include "hetero/ckpt/inspect/repair.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/publish/completeness.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Something in a file: a chunk of a tensor, or an object that has its own place.
struct Item {
  int64_t offset = 0;  // of a chunk's elements
  const ManifestTensor* tensor = nullptr;
  const ManifestChunk* chunk = nullptr;
  StoredPlace* place = nullptr;  // to be found
};

// The manifest has where elements lie; items, which readers of others want, lie around them one
// behind the other.
absl::Status FindPlaces(std::vector<Item> items) {
  std::ranges::sort(items, {}, &Item::offset);
  int64_t end = 0;
  for (const Item& item : items) {
    if (item.chunk == nullptr) {
      end = item.place->offset + item.place->bytes;
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(const ItemLayout layout,
                            LayOutItem(item.tensor->type, item.chunk->box.size, end));
    item.place->offset = layout.offset;
    item.place->bytes = layout.bytes();
    end = layout.end;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MetadataOf(const Manifest& manifest) {
  StoredIndex index;
  std::vector<std::vector<Item>> items(manifest.files.size());
  for (const auto& [key, tensor] : manifest.tensors) {
    StoredTensor& stored = index.tensors[key];
    stored = {.type = tensor.type, .shape = tensor.shape};
    for (const ManifestChunk& chunk : tensor.chunks) {
      stored.chunks.push_back(
          {.place = {.file = manifest.files[chunk.file].name}, .box = chunk.box});
    }
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      const ManifestChunk& chunk = tensor.chunks[i];
      items[chunk.file].push_back({.offset = chunk.offset,
                                   .tensor = &tensor,
                                   .chunk = &chunk,
                                   .place = &stored.chunks[i].place});
    }
  }
  for (const auto& [name, object] : manifest.objects) {
    StoredPlace& place = index.objects[name];
    place = {
        .file = manifest.files[object.file].name, .offset = object.offset, .bytes = object.bytes};
    items[object.file].push_back({.offset = object.offset, .place = &place});
  }
  for (std::vector<Item>& of_file : items) {
    HETERO_RETURN_IF_ERROR(FindPlaces(std::move(of_file)));
  }
  return TorchMetadataText(index);
}

// Reads every element, a block at a time.
absl::StatusOr<std::string> SumsOf(Storage& storage, const fs::path& directory,
                                   const Manifest& manifest) {
  std::vector<std::unique_ptr<ReadableFile>> files(manifest.files.size());
  std::vector<std::byte> memory(manifest.block_bytes);
  std::vector<uint32_t> sums;
  for (const auto& [key, tensor] : manifest.tensors) {
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      const ManifestChunk& chunk = tensor.chunks[i];
      const std::string& name = manifest.files[chunk.file].name;
      std::unique_ptr<ReadableFile>& file = files[chunk.file];
      if (file == nullptr) {
        HETERO_ASSIGN_OR_RETURN(file, storage.Open(directory / name));
      }
      uint32_t all = 0;
      for (int64_t done = 0; done < chunk.bytes; done += manifest.block_bytes) {
        const std::span<std::byte> block =
            std::span(memory).first(std::min(manifest.block_bytes, chunk.bytes - done));
        HETERO_RETURN_IF_ERROR(file->Read(chunk.offset + done, block)).With(key);
        sums.push_back(Crc32(block));
        all = Crc32Combine(all, sums.back(), std::ssize(block));
      }
      if (all == chunk.crc32) continue;
      return absl::DataLossError(absl::StrFormat(
          "%s, tensor \"%s\", chunk %d, %d bytes at %d: crc32 is %08x, expected %08x; checksums of "
          "its blocks cannot be made again",
          name, key, i, chunk.bytes, chunk.offset, all, chunk.crc32));
    }
  }
  return BlockSumsText(sums);
}

bool Is(std::string_view text, const ManifestFile& listed) {
  return std::ssize(text) == listed.bytes && Crc32(AsBytes(text)) == listed.crc32;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> RepairCheckpoint(Storage& storage,
                                                          const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const std::string committed, ReadCommittedManifest(storage, directory));
  const absl::StatusOr<Manifest> manifest = ParseManifest(committed);
  HETERO_RETURN_IF_ERROR(manifest).With((directory / kManifestName).native());
  std::vector<std::string> repaired;
  for (const ManifestFile& listed : manifest->files) {
    const bool metadata = listed.name == kTorchMetadataName;
    const bool backend = listed.name == kBackendName;
    if (!metadata && !backend && listed.name != kBlockSumsName) continue;
    const fs::path path = directory / listed.name;
    const absl::StatusOr<std::string> there = ReadText(storage, path);
    if (there.ok() ? Is(*there, listed) : !absl::IsNotFound(there.status())) {
      HETERO_RETURN_IF_ERROR(there.status());
      continue;
    }
    absl::StatusOr<std::string> made = BackendText();
    if (metadata) made = MetadataOf(*manifest);
    if (!metadata && !backend) made = SumsOf(storage, directory, *manifest);
    HETERO_RETURN_IF_ERROR(made.status());
    if (!Is(*made, listed)) {
      return absl::DataLossError(absl::StrFormat(
          "%s: made again it has %d bytes and crc32 %08x; what was written had %d and %08x",
          path.native(), made->size(), Crc32(AsBytes(*made)), listed.bytes, listed.crc32));
    }
    HETERO_RETURN_IF_ERROR(ReplaceText(storage, path, *made));
    repaired.push_back(listed.name);
  }
  return repaired;
}

}  // namespace hetero
