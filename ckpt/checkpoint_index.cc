#include "hetero/ckpt/checkpoint_index.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/reader.h"
#include "hetero/ckpt/safetensors/shards.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

absl::StatusOr<CheckpointIndex> OurIndex(const std::string& text, const std::string& sums_text) {
  HETERO_ASSIGN_OR_RETURN(Manifest manifest, ParseManifest(text));
  constexpr int64_t kMaxBlockBytes = 64 << 20;  // a reader has two in memory
  constexpr int64_t kElementBytes = 8;          // of which blocks have no parts
  if (manifest.block_bytes % kElementBytes != 0 || manifest.block_bytes > kMaxBlockBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(kManifestName, ": block is ", manifest.block_bytes,
                     "; expected a multiple of ", kElementBytes, " up to ", kMaxBlockBytes));
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

absl::StatusOr<CheckpointIndex> TorchIndex(const std::string& bytes) {
  HETERO_ASSIGN_OR_RETURN(StoredIndex torch, ParseTorchMetadata(bytes));
  CheckpointIndex index{.origin = CheckpointOrigin::kTorch};
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

// Whole tensors of the files that the reader takes for one model, or boxes of sharded files.
absl::StatusOr<std::map<std::string, ShardedSafetensor>> ReadSafetensorsPlaces(
    Storage& storage, const std::filesystem::path& directory) {
  std::map<std::string, ShardedSafetensor> tensors;
  if (!storage.Exists(directory / kSafetensorsIndexName)) {
    HETERO_ASSIGN_OR_RETURN(tensors, ReadSafetensorsShards(storage, directory));
    if (!tensors.empty()) return tensors;
  }
  HETERO_ASSIGN_OR_RETURN(const auto reader, SafetensorsReader::Open(storage, directory));
  for (const auto& [name, tensor] : reader->tensors()) {
    const SafetensorsReader::Place place = reader->PlaceOf(name);
    tensors[name] = {.type = tensor.type,
                     .shape = tensor.shape,
                     .shards = {{.box = WholeBox(tensor.shape),
                                 .file = place.path.filename().string(),
                                 .offset = place.offset,
                                 .bytes = tensor.bytes()}}};
  }
  return tensors;
}

// What of safetensors files others have to know: names of files, and of every tensor its name,
// type, shape, and box, file and place of every shard.
absl::StatusOr<std::string> DescribeSafetensors(Storage& storage,
                                                const std::filesystem::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const auto places, ReadSafetensorsPlaces(storage, directory));
  std::map<std::string, int> numbers;
  Json files = Json::array(), tensors = Json::array();
  for (const auto& [name, tensor] : places) {
    Json shards = Json::array();
    for (const SafetensorsShard& shard : tensor.shards) {
      const auto [number, is_first] = numbers.emplace(shard.file, static_cast<int>(files.size()));
      if (is_first) files.push_back(shard.file);
      shards.push_back(Json::array(
          {shard.box.offset, shard.box.size, number->second, shard.offset, shard.bytes}));
    }
    tensors.push_back(
        Json::array({name, static_cast<int>(tensor.type), tensor.shape, std::move(shards)}));
  }
  std::string bytes;
  Json::to_cbor(Json::array({std::move(files), std::move(tensors)}), bytes);
  return bytes;
}

// Of DescribeSafetensors.
CheckpointIndex SafetensorsIndex(const std::string& bytes) {
  const Json described = Json::from_cbor(bytes);
  CheckpointIndex index{.origin = CheckpointOrigin::kSafetensors};
  for (const Json& file : described[0]) index.files.push_back({.name = file.get<std::string>()});
  for (const Json& entry : described[1]) {
    IndexedTensor& tensor = index.tensors[entry[0].get<std::string>()];
    tensor.type = static_cast<ElementType>(entry[1].get<int>());
    tensor.shape = entry[2].get<std::vector<int64_t>>();
    for (const Json& shard : entry[3]) {
      tensor.chunks.push_back(
          {.box = {shard[0].get<std::vector<int64_t>>(), shard[1].get<std::vector<int64_t>>()},
           .file = shard[2].get<int>(),
           .offset = shard[3].get<int64_t>(),
           .bytes = shard[4].get<int64_t>()});
    }
  }
  return index;
}

bool HasSafetensors(Storage& storage, const std::filesystem::path& directory) {
  const absl::StatusOr<std::vector<std::string>> names = storage.List(directory);
  return names.ok() && std::ranges::any_of(*names, [](const std::string& name) {
           return name.ends_with(".safetensors") || name == kSafetensorsIndexName;
         });
}

// A file without which the directory is not whole.
absl::StatusOr<std::string> ReadPart(Storage& storage, const std::filesystem::path& directory,
                                     std::string_view name) {
  absl::StatusOr<std::string> text = ReadText(storage, directory / name);
  if (!absl::IsNotFound(text.status())) return text;
  return absl::DataLossError(absl::StrCat(directory.string(), " has a ", kManifestName, " and no ",
                                          name, ": it is not whole"));
}

std::string Pack(CheckpointOrigin origin, std::string_view index, std::string_view sums = "") {
  return absl::StrCat(static_cast<int>(origin), " ", index.size(), " ", index, sums);
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
    return Pack(CheckpointOrigin::kOurs, *manifest, sums);
  }
  if (!absl::IsNotFound(manifest.status())) return manifest.status();
  const bool torch = storage.Exists(directory / kTorchMetadataName);
  if (!torch && !HasSafetensors(storage, directory)) {
    return absl::NotFoundError(absl::StrCat(directory.string(),
                                            " is no checkpoint: it has neither ", kManifestName,
                                            " nor ", kTorchMetadataName, " nor safetensors files"));
  }
  if (!foreign) {
    return absl::FailedPreconditionError(absl::StrCat(
        directory.string(), " has no ", kManifestName,
        ": it was written by others, without checksums, and importing it has to be ", "asked for"));
  }
  if (!torch) {
    HETERO_ASSIGN_OR_RETURN(const std::string described, DescribeSafetensors(storage, directory));
    return Pack(CheckpointOrigin::kSafetensors, described);
  }
  if (storage.Exists(directory / kBackendName)) {
    HETERO_ASSIGN_OR_RETURN(const std::string backend, ReadText(storage, directory / kBackendName));
    HETERO_RETURN_IF_ERROR(CheckBackend(backend)).With(directory.string());
  }
  HETERO_ASSIGN_OR_RETURN(const std::string text,
                          ReadText(storage, directory / kTorchMetadataName));
  return Pack(CheckpointOrigin::kTorch, text);
}

absl::StatusOr<CheckpointIndex> ParseIndexBytes(std::string_view bytes) {
  // As Pack writes it.
  const size_t space = bytes.find(' ', 2);
  const int64_t size = std::stoll(std::string(bytes.substr(2, space - 2)));
  const std::string index(bytes.substr(space + 1, size));
  switch (static_cast<CheckpointOrigin>(bytes[0] - '0')) {
    case CheckpointOrigin::kTorch:
      return TorchIndex(index);
    case CheckpointOrigin::kSafetensors:
      return SafetensorsIndex(index);
    case CheckpointOrigin::kOurs:
      break;
  }
  return OurIndex(index, std::string(bytes.substr(space + 1 + size)));
}

}  // namespace hetero
