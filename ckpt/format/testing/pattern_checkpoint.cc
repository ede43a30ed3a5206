#include "hetero/ckpt/format/testing/pattern_checkpoint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/byte_order.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_item.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/format/torch_object.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

void AppendElement(std::string& out, ElementType type, int value) {
  switch (type) {
    case ElementType::kF32:
      return AppendLittle(out, std::bit_cast<uint32_t>(static_cast<float>(value)), 4);
    case ElementType::kBF16:
      return AppendLittle(out, BFloat16(static_cast<float>(value)).bits(), 2);
    default:
      return AppendLittle(out, static_cast<uint64_t>(int64_t{value}), BitsOf(type) / 8);
  }
}

// The directory while it is written.
class Writer {
 public:
  Writer() {
    manifest_.save_id = "pattern";
    manifest_.iteration = 10;
    manifest_.world_size = 2;
    manifest_.key_style = "canonical";
    manifest_.state = {{"consumed_train_samples", 640}};
    for (const char* name : {"__0_0.distcp", "__1_0.distcp"}) manifest_.files.push_back({name});
  }

  absl::Status Add(const std::string& key, ElementType type, const std::vector<int64_t>& shape,
                   const std::vector<Box>& boxes) {
    ManifestTensor& tensor = manifest_.tensors[key];
    StoredTensor& stored = index_.tensors[key];
    tensor.type = stored.type = type;
    tensor.shape = stored.shape = shape;
    for (size_t i = 0; i < boxes.size(); ++i) {
      const Box& box = boxes[i];
      const int file = static_cast<int>(i % files_.size());
      std::string& bytes = files_[file];
      HETERO_ASSIGN_OR_RETURN(const ItemLayout layout,
                              LayOutItem(type, box.size, std::ssize(bytes)));
      const std::string payload = PatternBytes(key, type, shape, box);
      const uint32_t crc = Crc32(AsBytes(payload));
      const auto [head, tail] = MakeItemEnds(type, box.size, crc, layout.offset);
      absl::StrAppend(&bytes, head, payload, tail);
      tensor.chunks.push_back({.file = file,
                               .offset = layout.payload_offset,
                               .bytes = layout.payload_bytes,
                               .crc32 = crc,
                               .box = box});
      stored.chunks.push_back(
          {.place = {manifest_.files[file].name, layout.offset, layout.bytes()}, .box = box});
      if (!payload.empty()) sums_[key].push_back(crc);
    }
    return absl::OkStatus();
  }

  void AddObject(const std::string& name, const nlohmann::json& value) {
    const std::string item = ObjectItem(value);
    const int64_t offset = std::ssize(files_[1]);
    manifest_.objects[name] = {
        .file = 1, .offset = offset, .bytes = std::ssize(item), .crc32 = Crc32(AsBytes(item))};
    index_.objects[name] = {manifest_.files[1].name, offset, std::ssize(item)};
    files_[1] += item;
  }

  absl::Status Write(Storage& storage, const std::filesystem::path& folder) {
    std::vector<uint32_t> sums;
    for (const auto& [key, of_key] : sums_) sums.insert(sums.end(), of_key.begin(), of_key.end());
    std::vector<std::string> texts(files_.begin(), files_.end());
    const auto add = [&](std::string_view name, std::string text) {
      manifest_.files.push_back({std::string(name)});
      texts.push_back(std::move(text));
    };
    add(kTorchMetadataName, TorchMetadataText(index_));
    add(kBackendName, BackendText());
    add(kCommonName,
        CommonText({{"args", {{"num_layers", 2}, {"lr", 1e-4}}},
                    {"iteration", 10},
                    {"content_metadata", {{"distrib_optim_sharding_type", "fully_reshardable"}}}}));
    add(kBlockSumsName, BlockSumsText(sums));

    HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
    for (size_t i = 0; i < texts.size(); ++i) {
      ManifestFile& file = manifest_.files[i];
      file.bytes = std::ssize(texts[i]);
      file.crc32 = Crc32(AsBytes(texts[i]));
      HETERO_RETURN_IF_ERROR(WriteText(storage, folder / file.name, texts[i]));
    }
    const std::string text = ManifestText(manifest_);
    HETERO_RETURN_IF_ERROR(WriteText(storage, folder / kManifestName, text));
    return WriteText(storage, folder / kCommitName, CommitText(text));
  }

 private:
  Manifest manifest_;
  StoredIndex index_;
  std::array<std::string, 2> files_;
  std::map<std::string, std::vector<uint32_t>> sums_;  // one block a chunk
};

}  // namespace

std::string PatternBytes(std::string_view key, ElementType type, std::span<const int64_t> shape,
                         const Box& box) {
  std::string bytes;
  std::vector<int64_t> at = box.offset;
  for (int64_t count = NumElements(box); count > 0; --count) {
    int64_t i = 0;
    for (size_t dim = 0; dim < shape.size(); ++dim) i = i * shape[dim] + at[dim];
    AppendElement(bytes, type, PatternValue(key, i));
    for (size_t dim = shape.size(); dim-- > 0;) {
      if (++at[dim] < box.offset[dim] + box.size[dim]) break;
      at[dim] = box.offset[dim];
    }
  }
  return bytes;
}

absl::Status WritePatternCheckpoint(Storage& storage, const std::filesystem::path& folder,
                                    PatternBoxes boxes) {
  Writer writer;
  const std::vector<Box> grid = {
      {{0, 0}, {2, 4}}, {{0, 4}, {2, 4}}, {{2, 0}, {2, 4}}, {{2, 4}, {2, 4}}};
  const std::vector<Box> irregular = {
      {{0, 0}, {1, 8}}, {{1, 0}, {1, 5}}, {{1, 5}, {1, 3}}, {{2, 0}, {2, 8}}};
  HETERO_RETURN_IF_ERROR(
      writer.Add("w", ElementType::kF32, {4, 8}, boxes == PatternBoxes::kGrid ? grid : irregular));
  HETERO_RETURN_IF_ERROR(writer.Add("b", ElementType::kBF16, {5}, {{{0}, {5}}}));
  HETERO_RETURN_IF_ERROR(writer.Add("exp.weight", ElementType::kI64, {2, 3, 2},
                                    {{{0, 0, 0}, {1, 3, 2}}, {{1, 0, 0}, {1, 3, 2}}}));
  HETERO_RETURN_IF_ERROR(writer.Add("s", ElementType::kF32, {}, {{{}, {}}}));
  HETERO_RETURN_IF_ERROR(writer.Add("e", ElementType::kF32, {0, 3}, {{{0, 0}, {0, 3}}}));
  writer.AddObject("obj/shard_0_1", {{"seed", uint64_t{1} << 63}, {"lr", 0.1}, {"on", true}});
  return writer.Write(storage, folder);
}

}  // namespace hetero
