#include "hetero/ckpt/checkpoint_index.h"

#include <cstddef>
#include <map>
#include <span>
#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/torch_metadata.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

absl::StatusOr<CheckpointIndex> OurIndex(const std::string& text, const std::string& sums_text) {
  HETERO_ASSIGN_OR_RETURN(Manifest manifest, ParseManifest(text));
  constexpr int64_t kMaxBlockBytes = 64 << 20;  // a reader has two in memory
  if (manifest.block_bytes % kDirectAlignment != 0 || manifest.block_bytes > kMaxBlockBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(kManifestName, ": block is ", manifest.block_bytes,
                     "; expected a multiple of ", kDirectAlignment, " up to ", kMaxBlockBytes));
  }
  HETERO_ASSIGN_OR_RETURN(const BlockSums sums, BlockSums::Parse(manifest, sums_text));
  CheckpointIndex index{.iteration = manifest.iteration,
                        .state = std::move(manifest.state),
                        .grids = std::move(manifest.grids),
                        .block_bytes = manifest.block_bytes};
  for (ManifestFile& file : manifest.files) {
    index.files.push_back({std::move(file.name), file.bytes});
  }
  for (auto& [key, tensor] : manifest.tensors) {
    IndexedTensor& indexed = index.tensors[key];
    indexed.type = tensor.type;
    indexed.shape = std::move(tensor.shape);
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      ManifestChunk& chunk = tensor.chunks[i];
      indexed.chunks.push_back({.box = std::move(chunk.box),
                                .file = chunk.file,
                                .offset = chunk.offset,
                                .bytes = chunk.bytes,
                                .first_block = std::ssize(index.block_crc32)});
      const std::span<const uint32_t> of_chunk = sums.Of(key, i);
      index.block_crc32.insert(index.block_crc32.end(), of_chunk.begin(), of_chunk.end());
    }
  }
  for (const auto& [name, object] : manifest.objects) {
    index.objects[name] = {object.file, object.offset, object.bytes, object.crc32};
  }
  return index;
}

absl::StatusOr<CheckpointIndex> ForeignIndex(const std::string& bytes) {
  HETERO_ASSIGN_OR_RETURN(StoredIndex torch, ParseTorchMetadata(bytes));
  CheckpointIndex index{.foreign = true};
  std::map<std::string, int> numbers;
  const auto number_of = [&](const std::string& name) {
    const auto [place, is_first] = numbers.emplace(name, static_cast<int>(index.files.size()));
    if (is_first) index.files.push_back({.name = name});
    return place->second;
  };
  for (auto& [key, tensor] : torch.tensors) {
    IndexedTensor& indexed = index.tensors[key];
    indexed.type = tensor.type;
    indexed.shape = std::move(tensor.shape);
    for (StoredChunk& chunk : tensor.chunks) {
      indexed.chunks.push_back({.box = std::move(chunk.box),
                                .file = number_of(chunk.place.file),
                                .offset = chunk.place.offset,
                                .bytes = chunk.place.bytes});
    }
  }
  for (const auto& [name, object] : torch.objects) {
    index.objects[name] = {number_of(object.file), object.offset, object.bytes};
  }
  return index;
}

// A file without which the directory is not whole.
absl::StatusOr<std::string> ReadPart(Storage& storage, const std::filesystem::path& directory,
                                     std::string_view name) {
  absl::StatusOr<std::string> text = ReadText(storage, directory / name);
  if (!absl::IsNotFound(text.status())) return text;
  return absl::DataLossError(absl::StrCat(directory.string(), " has a ", kManifestName, " and no ",
                                          name, ": it is not whole"));
}

std::string Pack(bool foreign, std::string_view index, std::string_view sums) {
  return absl::StrCat(foreign ? "f" : "o", " ", index.size(), " ", index, sums);
}

}  // namespace

absl::StatusOr<std::string> ReadIndexBytes(Storage& storage, const std::filesystem::path& directory,
                                           bool foreign) {
  absl::StatusOr<std::string> manifest = ReadText(storage, directory / kManifestName);
  if (manifest.ok()) {
    HETERO_ASSIGN_OR_RETURN(const std::string commit, ReadPart(storage, directory, kCommitName));
    HETERO_RETURN_IF_ERROR(CheckCommit(commit, *manifest)).With(directory.string());
    HETERO_ASSIGN_OR_RETURN(const std::string sums, ReadPart(storage, directory, kBlockSumsName));
    if (!storage.Exists(directory / kTorchMetadataName)) {
      LOG(WARNING) << directory << " lacks " << kTorchMetadataName
                   << ", which readers of others need and ours do not";
    }
    return Pack(false, *manifest, sums);
  }
  if (!absl::IsNotFound(manifest.status())) return manifest.status();
  if (!storage.Exists(directory / kTorchMetadataName)) {
    return absl::NotFoundError(absl::StrCat(directory.string(),
                                            " is no checkpoint: it has neither ", kManifestName,
                                            " nor ", kTorchMetadataName));
  }
  if (!foreign) {
    return absl::FailedPreconditionError(absl::StrCat(
        directory.string(), " has no ", kManifestName,
        ": it was written by others, without checksums, and importing it has to be ", "asked for"));
  }
  if (storage.Exists(directory / kBackendName)) {
    HETERO_ASSIGN_OR_RETURN(const std::string backend, ReadText(storage, directory / kBackendName));
    HETERO_RETURN_IF_ERROR(CheckBackend(backend)).With(directory.string());
  }
  HETERO_ASSIGN_OR_RETURN(const std::string text,
                          ReadText(storage, directory / kTorchMetadataName));
  return Pack(true, text, "");
}

absl::StatusOr<CheckpointIndex> ParseIndexBytes(std::string_view bytes) {
  // As Pack writes it.
  const size_t space = bytes.find(' ', 2);
  const int64_t size = std::stoll(std::string(bytes.substr(2, space - 2)));
  const std::string index(bytes.substr(space + 1, size));
  if (bytes[0] == 'f') return ForeignIndex(index);
  return OurIndex(index, std::string(bytes.substr(space + 1 + size)));
}

}  // namespace hetero
