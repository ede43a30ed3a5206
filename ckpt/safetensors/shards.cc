#include "hetero/ckpt/safetensors/shards.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/strict_json.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/coverage.h"
#include "hetero/ckpt/safetensors/reader.h"

namespace hetero {
namespace {

constexpr char kShardingInfo[] = "DCP_SHARDING_INFO";
constexpr char kOffsets[] = "saved_offsets";

// Where `tensor` of a file with that metadata begins.
absl::StatusOr<std::vector<int64_t>> OffsetOf(const nlohmann::json& info,
                                              const SafetensorsTensor& tensor) {
  const auto entry = info.find(tensor.name);
  if (entry == info.end() || !entry->is_object() || !entry->contains(kOffsets)) {
    return absl::DataLossError(absl::StrCat(kShardingInfo, " has no ", kOffsets));
  }
  HETERO_ASSIGN_OR_RETURN(std::vector<int64_t> offset, Int64sOf((*entry)[kOffsets], kOffsets));
  bool fits = offset.size() == tensor.shape.size();
  for (size_t d = 0; fits && d < offset.size(); ++d) {
    fits = offset[d] <= std::numeric_limits<int64_t>::max() - tensor.shape[d];
  }
  if (fits) return offset;
  return absl::DataLossError(absl::StrCat(kOffsets, " is ", Shortened((*entry)[kOffsets]),
                                          ", must be a place for a tensor of shape ",
                                          ShapeText(tensor.shape)));
}

absl::Status AddShard(const SafetensorsTensor& tensor, SafetensorsShard shard,
                      ShardedSafetensor& whole) {
  if (whole.shards.empty()) {
    whole.type = tensor.type;
    whole.shape.resize(tensor.shape.size());
  }
  if (whole.type != tensor.type || whole.shape.size() != tensor.shape.size()) {
    return absl::DataLossError(absl::StrCat("it is ", Name(tensor.type), " of ",
                                            tensor.shape.size(), " dims, in ", whole.shards[0].file,
                                            " ", Name(whole.type), " of ", whole.shape.size()));
  }
  for (size_t d = 0; d < whole.shape.size(); ++d) {
    whole.shape[d] = std::max(whole.shape[d], shard.box.offset[d] + shard.box.size[d]);
  }
  whole.shards.push_back(std::move(shard));
  return absl::OkStatus();
}

absl::Status CheckShards(const std::string& name, const ShardedSafetensor& tensor) {
  std::vector<CoveringBox> boxes;
  for (const SafetensorsShard& shard : tensor.shards) boxes.push_back({shard.box, shard.file});
  const absl::Status covered = CheckCoverage(name, tensor.shape, boxes);
  return covered.ok() ? covered : absl::DataLossError(covered.message());
}

}  // namespace

absl::StatusOr<std::map<std::string, ShardedSafetensor>> ReadSafetensorsShards(
    Storage& storage, const std::filesystem::path& folder) {
  HETERO_ASSIGN_OR_RETURN(std::vector<std::string> names, storage.List(folder));
  std::erase_if(names, [&](const std::string& name) {
    return !absl::EndsWith(name, ".safetensors") || storage.IsDirectory(folder / name);
  });
  std::ranges::sort(names);
  std::map<std::string, ShardedSafetensor> tensors;
  bool is_sharded = false;
  for (const std::string& name : names) {
    HETERO_ASSIGN_OR_RETURN(const auto file, SafetensorsReader::Open(storage, folder / name));
    const std::string path = (folder / name).native();
    std::optional<nlohmann::json> info;
    if (const auto text = file->metadata().find(kShardingInfo); text != file->metadata().end()) {
      absl::StatusOr<nlohmann::json> parsed = ParseStrictJson(text->second);
      HETERO_RETURN_IF_ERROR(parsed.status()).With(absl::StrCat(path, ": ", kShardingInfo));
      info = *std::move(parsed);
      is_sharded = true;
    }
    for (const auto& [key, tensor] : file->tensors()) {
      const std::string where = absl::StrCat(path, ": tensor ", key);
      Box box = WholeBox(tensor.shape);
      if (info.has_value()) {
        absl::StatusOr<std::vector<int64_t>> offset = OffsetOf(*info, tensor);
        HETERO_RETURN_IF_ERROR(offset.status()).With(where);
        box.offset = *std::move(offset);
      }
      HETERO_RETURN_IF_ERROR(AddShard(tensor,
                                      {.box = std::move(box),
                                       .file = name,
                                       .offset = file->PlaceOf(key).offset,
                                       .bytes = tensor.bytes()},
                                      tensors[key]))
          .With(where);
    }
  }
  if (!is_sharded) return std::map<std::string, ShardedSafetensor>();
  for (const auto& [key, tensor] : tensors) {
    HETERO_RETURN_IF_ERROR(CheckShards(key, tensor)).With(folder.native());
  }
  return tensors;
}

}  // namespace hetero
