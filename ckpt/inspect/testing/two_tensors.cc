#include "hetero/ckpt/inspect/testing/two_tensors.h"

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/publisher.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

uint32_t CrcOf(std::string_view text) { return Crc32(AsBytes(text)); }

absl::Status Write(Storage& storage, const Staging& staging, float change) {
  Manifest manifest;
  manifest.save_id = staging.save_id();
  manifest.iteration = staging.iteration();
  manifest.block_bytes = 40;
  std::vector<std::pair<std::string, std::string>> files = {
      {"__0_0.distcp", ""},
      {"__1_0.distcp", ""},
      {"metadata.json", R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1})"}};
  const auto add = [&](int file, const std::string& payload) {
    std::string& text = files[file].second;
    text += "head of an item;";
    const int64_t offset = std::ssize(text);
    text += payload + ";tail";
    return offset;
  };
  const auto chunk = [&](int file, const std::string& payload, Box box) {
    return ManifestChunk{.file = file,
                         .offset = add(file, payload),
                         .bytes = std::ssize(payload),
                         .crc32 = CrcOf(payload),
                         .box = std::move(box)};
  };
  const std::string b = "bfloat16x5";
  const std::string object = "object's archive";
  manifest.tensors["w"] = {
      .type = ElementType::kF32,
      .shape = {4, 8},
      .chunks = {chunk(0, HalfOfW(0, change), {.offset = {0, 0}, .size = {4, 4}}),
                 chunk(1, HalfOfW(1, change), {.offset = {0, 4}, .size = {4, 4}})}};
  manifest.tensors["b"] = {.type = ElementType::kBF16,
                           .shape = {5},
                           .chunks = {chunk(0, b, {.offset = {0}, .size = {5}})}};
  manifest.objects["obj"] = {
      .file = 1, .offset = add(1, object), .bytes = std::ssize(object), .crc32 = CrcOf(object)};
  std::vector<uint32_t> sums;
  for (const std::string& payload : {b, HalfOfW(0, change), HalfOfW(1, change)}) {
    for (int64_t at = 0; at < std::ssize(payload); at += manifest.block_bytes) {
      sums.push_back(CrcOf(std::string_view(payload).substr(at, manifest.block_bytes)));
    }
  }
  files.emplace_back(kBlockSumsName, BlockSumsText(sums));
  for (const auto& [name, text] : files) {
    manifest.files.push_back({.name = name, .bytes = std::ssize(text), .crc32 = CrcOf(text)});
    HETERO_RETURN_IF_ERROR(WriteText(storage, staging.path() / name, text));
  }
  return WriteText(storage, staging.path() / kManifestName, ManifestText(manifest));
}

}  // namespace

std::string HalfOfW(int half, float change) {
  std::string bytes;
  for (int row = 0; row < 4; ++row) {
    for (int column = 4 * half; column < 4 * half + 4; ++column) {
      float value = static_cast<float>(8 * row + column);
      if (row == 0 && column == 5) value += change;
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
  }
  return bytes;
}

absl::Status PublishTwoTensors(Storage& storage, const fs::path& folder, int64_t iteration,
                               float change) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Publisher> publisher,
                          Publisher::Open(storage, folder, {.lease = {.run_id = "two tensors"}}));
  HETERO_ASSIGN_OR_RETURN(Staging staging, publisher->Begin(iteration, 1000));
  HETERO_RETURN_IF_ERROR(Write(storage, staging, change));
  return publisher->Publish(std::move(staging)).status();
}

}  // namespace hetero
