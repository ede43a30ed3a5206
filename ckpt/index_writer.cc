#include "hetero/ckpt/index_writer.h"

#include <cstddef>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/key_style.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

// The files of all members become one list; what each one counts from 0 is shifted.
absl::Status Add(const Json& told, int64_t member, const WorldPlan& plan, KeyStyle style,
                 int64_t max_chunk_bytes, Manifest& manifest, StoredIndex& index,
                 std::map<std::string, std::vector<std::vector<uint32_t>>>& sums) {
  const int first_file = static_cast<int>(manifest.files.size());
  for (const Json& file : told[0]) {
    manifest.files.push_back({file[0], file[1], file[2]});
  }
  const auto name_of = [&](const Json& file) {
    return manifest.files[first_file + file.get<int>()].name;
  };
  const std::vector<OwnedChunk> chunks = OwnedChunks(plan, member, max_chunk_bytes);
  if (chunks.size() != told[1].size()) {
    return absl::DataLossError(absl::StrCat("rank ", member, " has written ", told[1].size(),
                                            " chunks; the plan has ", chunks.size()));
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Json& chunk = told[1][i];
    const ElementType type = ElementTypeOf(chunks[i].tensor->dtype);
    const std::string key = StyledKey(chunks[i].key, style);
    ManifestTensor& tensor = manifest.tensors[key];
    tensor.type = type;
    tensor.shape = chunks[i].tensor->shape;
    tensor.chunks.push_back({.file = first_file + chunk[0].get<int>(),
                             .offset = chunk[3],
                             .bytes = chunk[4],
                             .crc32 = chunk[5],
                             .box = chunks[i].box});
    sums[key].push_back(chunk[6].get<std::vector<uint32_t>>());
    StoredTensor& indexed = index.tensors[key];
    indexed.type = type;
    indexed.shape = chunks[i].tensor->shape;
    indexed.chunks.push_back(
        {.place = {.file = name_of(chunk[0]), .offset = chunk[1], .bytes = chunk[2]},
         .box = chunks[i].box});
  }
  for (const Json& object : told[2]) {
    const std::string name = object[0];
    manifest.objects[name] = {.file = first_file + object[1].get<int>(),
                              .offset = object[2],
                              .bytes = object[3],
                              .crc32 = object[4]};
    index.objects[name] = {.file = name_of(object[1]), .offset = object[2], .bytes = object[3]};
  }
  return absl::OkStatus();
}

// Writes a file that the manifest lists.
absl::Status WriteListed(Storage& storage, const std::filesystem::path& directory,
                         std::string_view name, std::string_view text, Manifest& manifest) {
  manifest.files.push_back(
      {.name = std::string(name), .bytes = std::ssize(text), .crc32 = Crc32(AsBytes(text))});
  return WriteText(storage, directory / name, text);
}

}  // namespace

std::string DescribeFiles(const FileLayout& layout, const std::vector<FilePlan>& files) {
  Json list = Json::array(), chunks = Json::array(), objects = Json::array();
  for (const FilePlan& file : files)
    list.push_back(Json::array({file.name, file.bytes, file.crc32}));
  for (const FileLayout::Place& place : layout.chunks) {
    const FileItem& item = files[place.file].items[place.item];
    chunks.push_back(Json::array({place.file, item.offset, item.bytes, item.payload_offset,
                                  item.payload_bytes, item.crc32, item.block_crc32}));
  }
  for (const FileLayout::Object& object : layout.objects) {
    const FileItem& item = files[object.place.file].items[object.place.item];
    objects.push_back(
        Json::array({object.name, object.place.file, item.offset, item.bytes, item.crc32}));
  }
  std::string bytes;
  Json::to_cbor(Json::array({std::move(list), std::move(chunks), std::move(objects)}), bytes);
  return bytes;
}

absl::StatusOr<int64_t> WriteIndex(Storage& storage, const std::filesystem::path& directory,
                                   const WorldPlan& plan, std::span<const std::string> written,
                                   const SaveOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const KeyStyle style, KeyStyleNamed(options.key_style));
  Manifest manifest{.save_id = options.save_id,
                    .iteration = options.iteration,
                    .key_style = options.key_style,
                    .world_size = std::ssize(written),
                    .grids = options.grids,
                    .state = options.state};
  StoredIndex index;
  std::map<std::string, std::vector<std::vector<uint32_t>>> sums;
  for (size_t member = 0; member < written.size(); ++member) {
    const Json told = Json::from_cbor(written[member], true, /*allow_exceptions=*/false);
    if (!told.is_array() || told.size() != 3) {
      return absl::DataLossError(
          absl::StrCat("what rank ", member, " has written did not arrive whole"));
    }
    HETERO_RETURN_IF_ERROR(Add(told, static_cast<int64_t>(member), plan, style,
                               options.max_chunk_bytes, manifest, index, sums));
  }
  std::vector<uint32_t> all_sums;
  for (const auto& [key, of_chunks] : sums) {
    for (const std::vector<uint32_t>& of_chunk : of_chunks) {
      all_sums.insert(all_sums.end(), of_chunk.begin(), of_chunk.end());
    }
  }
  HETERO_RETURN_IF_ERROR(
      WriteListed(storage, directory, kTorchMetadataName, TorchMetadataText(index), manifest));
  HETERO_RETURN_IF_ERROR(WriteListed(storage, directory, kBackendName, BackendText(), manifest));
  HETERO_RETURN_IF_ERROR(
      WriteListed(storage, directory, kCommonName, CommonText(options.common), manifest));
  HETERO_RETURN_IF_ERROR(
      WriteListed(storage, directory, kBlockSumsName, BlockSumsText(all_sums), manifest));
  HETERO_RETURN_IF_ERROR(WriteText(storage, directory / kManifestName, ManifestText(manifest)));
  HETERO_RETURN_IF_ERROR(storage.SyncDirectory(directory));
  int64_t bytes = 0;
  for (const ManifestFile& file : manifest.files) bytes += file.bytes;
  return bytes;
}

}  // namespace hetero
