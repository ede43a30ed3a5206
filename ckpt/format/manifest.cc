#include "hetero/ckpt/format/manifest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/byte_order.h"
#include "hetero/ckpt/format/sha256.h"
#include "hetero/ckpt/format/strict_json.h"
#include "hetero/ckpt/plan/coverage.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "mimo-ckpt";
constexpr int64_t kVersion = 1;

// JSON has no infinity and no NaN: such a number is {"__float__": "inf"}.
constexpr const char* kFloat = "__float__";

Json EncodeFloats(const Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isfinite(number)) return value;
    return {{kFloat, std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf"}};
  }
  if (!value.is_structured()) return value;
  Json encoded = value;
  for (Json& item : encoded) item = EncodeFloats(item);
  return encoded;
}

Json DecodeFloats(const Json& value) {
  if (value.is_object() && value.size() == 1 && value.contains(kFloat)) {
    const Json& text = value[kFloat];
    if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (text == "inf") return std::numeric_limits<double>::infinity();
    if (text == "-inf") return -std::numeric_limits<double>::infinity();
  }
  if (!value.is_structured()) return value;
  Json decoded = value;
  for (Json& item : decoded) item = DecodeFloats(item);
  return decoded;
}

std::string Quoted(const std::string& text) { return Json(text).dump(); }

std::string Ints(std::span<const int64_t> values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

std::string TensorText(const ManifestTensor& tensor) {
  const auto append_chunk = [](std::string* out, const ManifestChunk& chunk) {
    absl::StrAppend(out, "[", chunk.file, ",", chunk.offset, ",", chunk.bytes, ",", chunk.crc32,
                    ",", Ints(chunk.box.offset), ",", Ints(chunk.box.size), "]");
  };
  return absl::StrCat("{\"dtype\":\"", Name(tensor.type), "\",\"shape\":", Ints(tensor.shape),
                      ",\"chunks\":[", absl::StrJoin(tensor.chunks, ",", append_chunk), "]}");
}

std::string ObjectText(const ManifestObject& object) {
  return absl::StrCat("[", object.file, ",", object.offset, ",", object.bytes, ",", object.crc32,
                      "]");
}

// "{\nkey:text,\n...}" of a map.
template <typename Map, typename Text>
std::string Lines(const Map& map, Text text) {
  return absl::StrCat("{\n",
                      absl::StrJoin(map, ",\n",
                                    [&](std::string* out, const auto& entry) {
                                      absl::StrAppend(out, Quoted(entry.first), ":",
                                                      text(entry.second));
                                    }),
                      "}");
}

absl::Status Wrong(std::string_view field, std::string_view rule, const Json& value) {
  return absl::DataLossError(absl::StrCat(field, " ", rule, ", is ", Shortened(value)));
}

absl::StatusOr<uint32_t> ParseCrc(const Json& value, std::string_view field) {
  HETERO_ASSIGN_OR_RETURN(const int64_t crc, Int64Of(value, field));
  if (crc > int64_t{std::numeric_limits<uint32_t>::max()}) {
    return Wrong(field, "must fit in 32 bits", value);
  }
  return static_cast<uint32_t>(crc);
}

absl::StatusOr<ManifestFile> ParseFile(const Json& value) {
  if (!value.is_array() || value.size() != 3 || !value[0].is_string()) {
    return Wrong("files", "must be a list of [name, bytes, crc32]", value);
  }
  ManifestFile file = {.name = value[0].get<std::string>()};
  if (file.name.empty() || file.name == "." || file.name == ".." ||
      absl::StrContains(file.name, '/') || absl::StrContains(file.name, '\0') ||
      file.name == kManifestName || file.name == kCommitName) {
    return Wrong("files", "must name files of the directory", value);
  }
  HETERO_ASSIGN_OR_RETURN(file.bytes, Int64Of(value[1], file.name));
  HETERO_ASSIGN_OR_RETURN(file.crc32, ParseCrc(value[2], file.name));
  return file;
}

// The part that chunks and objects have in common; T is either.
template <typename T>
absl::Status ParsePlace(const Json& value, const std::vector<ManifestFile>& files, T& place) {
  HETERO_ASSIGN_OR_RETURN(const int64_t file, Int64Of(value[0], "file"));
  if (file >= std::ssize(files)) {
    return Wrong("file", absl::StrCat("must be below ", files.size()), value[0]);
  }
  place.file = static_cast<int>(file);
  HETERO_ASSIGN_OR_RETURN(place.offset, Int64Of(value[1], "offset"));
  HETERO_ASSIGN_OR_RETURN(place.bytes, Int64Of(value[2], "bytes"));
  HETERO_ASSIGN_OR_RETURN(place.crc32, ParseCrc(value[3], "crc32"));
  const int64_t size = files[file].bytes;
  if (place.bytes <= size && place.offset <= size - place.bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(place.bytes, " bytes at ", place.offset,
                                          " lie outside of ", files[file].name, " with ", size));
}

absl::StatusOr<ManifestChunk> ParseChunk(const Json& value, const ManifestTensor& tensor,
                                         const std::vector<ManifestFile>& files) {
  if (!value.is_array() || value.size() != 6) {
    return Wrong("chunks", "must be a list of [file, offset, bytes, crc32, offsets, sizes]", value);
  }
  ManifestChunk chunk;
  HETERO_RETURN_IF_ERROR(ParsePlace(value, files, chunk));
  HETERO_ASSIGN_OR_RETURN(chunk.box.offset, Int64sOf(value[4], "offsets"));
  HETERO_ASSIGN_OR_RETURN(chunk.box.size, Int64sOf(value[5], "sizes"));
  if (!IsInside(chunk.box, tensor.shape)) {
    return absl::DataLossError(absl::StrCat(
        "chunk ", ToString(chunk.box), " lies outside of the tensor ", ShapeText(tensor.shape)));
  }
  const absl::StatusOr<int64_t> bytes = PayloadBytes(tensor.type, chunk.box.size);
  if (!bytes.ok() || *bytes != chunk.bytes) {
    return absl::DataLossError(absl::StrCat("chunk ", ToString(chunk.box), " of ",
                                            Name(tensor.type), " has ", chunk.bytes, " bytes"));
  }
  return chunk;
}

absl::StatusOr<ManifestTensor> ParseTensor(const std::string& key, const Json& value,
                                           const std::vector<ManifestFile>& files) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("chunks") || !value["chunks"].is_array()) {
    return Wrong("it", "must have dtype, shape and chunks", value);
  }
  ManifestTensor tensor;
  const Json& dtype = value["dtype"];
  const std::optional<ElementType> type =
      dtype.is_string() ? ElementTypeNamed(dtype.get_ref<const std::string&>()) : std::nullopt;
  if (!type) return Wrong("dtype", "must be an element type", dtype);
  tensor.type = *type;
  HETERO_ASSIGN_OR_RETURN(tensor.shape, Int64sOf(value["shape"], "shape"));
  const absl::StatusOr<int64_t> bytes = PayloadBytes(tensor.type, tensor.shape);
  if (!bytes.ok()) return absl::DataLossError(bytes.status().message());
  std::vector<CoveringBox> boxes;
  for (const Json& item : value["chunks"]) {
    HETERO_ASSIGN_OR_RETURN(ManifestChunk chunk, ParseChunk(item, tensor, files));
    boxes.push_back({.box = chunk.box, .holder = absl::StrCat("chunk ", tensor.chunks.size())});
    tensor.chunks.push_back(std::move(chunk));
  }
  const absl::Status covered = CheckCoverage(key, tensor.shape, boxes);
  if (!covered.ok()) return absl::DataLossError(covered.message());
  return tensor;
}

absl::StatusOr<ManifestObject> ParseObject(const Json& value,
                                           const std::vector<ManifestFile>& files) {
  if (!value.is_array() || value.size() != 4) {
    return Wrong("it", "must be [file, offset, bytes, crc32]", value);
  }
  ManifestObject object;
  HETERO_RETURN_IF_ERROR(ParsePlace(value, files, object));
  return object;
}

// A place and whose it is.
struct Extent {
  int file;
  int64_t offset;
  int64_t bytes;
  const std::string* name;
};

absl::Status CheckApart(const Manifest& manifest) {
  std::vector<Extent> extents;
  for (const auto& [key, tensor] : manifest.tensors) {
    for (const ManifestChunk& chunk : tensor.chunks) {
      if (chunk.bytes > 0) extents.push_back({chunk.file, chunk.offset, chunk.bytes, &key});
    }
  }
  for (const auto& [name, object] : manifest.objects) {
    extents.push_back({object.file, object.offset, object.bytes, &name});
  }
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.file, a.offset) < std::pair(b.file, b.offset);
  });
  for (size_t i = 1; i < extents.size(); ++i) {
    const Extent& a = extents[i - 1];
    const Extent& b = extents[i];
    if (a.file != b.file || a.offset + a.bytes <= b.offset) continue;
    return absl::DataLossError(absl::StrCat(*a.name, " and ", *b.name, " overlap at byte ",
                                            b.offset, " of ", manifest.files[a.file].name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TextField(const Json& root, const char* name) {
  if (!root[name].is_string()) return Wrong(name, "must be text", root[name]);
  return root[name].get<std::string>();
}

absl::Status CheckFields(const Json& root) {
  static constexpr const char* kFields[] = {
      "block",   "container", "files", "format",  "grids",   "iteration", "key_style",
      "objects", "save_id",   "state", "tensors", "version", "world_size"};
  if (!root.is_object()) return Wrong("the manifest", "must be an object", root);
  for (const char* field : kFields) {
    if (!root.contains(field)) return absl::DataLossError(absl::StrCat("no field ", field));
  }
  if (root["format"] != kFormat) {
    return Wrong("format", absl::StrCat("must be ", kFormat), root["format"]);
  }
  if (root["version"] != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "version ", Shortened(root["version"]), " of the format, this program reads ", kVersion));
  }
  if (root["container"] != "torch_dist") {
    return absl::FailedPreconditionError(absl::StrCat("container ", Shortened(root["container"]),
                                                      ", this program reads torch_dist"));
  }
  if (!root["files"].is_array()) return Wrong("files", "must be a list", root["files"]);
  for (const char* field : {"tensors", "objects", "grids", "state"}) {
    if (!root[field].is_object()) return Wrong(field, "must be an object", root[field]);
  }
  return absl::OkStatus();
}

}  // namespace

std::string ManifestText(const Manifest& manifest) {
  const auto append_file = [](std::string* out, const ManifestFile& file) {
    absl::StrAppend(out, "[", Quoted(file.name), ",", file.bytes, ",", file.crc32, "]");
  };
  return absl::StrCat(
      "{\"block\":", manifest.block_bytes, ",\n\"container\":", Quoted(manifest.container),
      ",\n\"files\":[\n", absl::StrJoin(manifest.files, ",\n", append_file), "],\n\"format\":\"",
      kFormat, "\",\n\"grids\":", EncodeFloats(manifest.grids).dump(),
      ",\n\"iteration\":", manifest.iteration, ",\n\"key_style\":", Quoted(manifest.key_style),
      ",\n\"objects\":", Lines(manifest.objects, ObjectText),
      ",\n\"save_id\":", Quoted(manifest.save_id),
      ",\n\"state\":", EncodeFloats(manifest.state).dump(),
      ",\n\"tensors\":", Lines(manifest.tensors, TensorText), ",\n\"version\":", kVersion,
      ",\n\"world_size\":", manifest.world_size, "}\n");
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  HETERO_ASSIGN_OR_RETURN(const Json root, ParseStrictJson(text));
  HETERO_RETURN_IF_ERROR(CheckFields(root));
  Manifest manifest;
  HETERO_ASSIGN_OR_RETURN(manifest.save_id, TextField(root, "save_id"));
  HETERO_ASSIGN_OR_RETURN(manifest.container, TextField(root, "container"));
  HETERO_ASSIGN_OR_RETURN(manifest.key_style, TextField(root, "key_style"));
  HETERO_ASSIGN_OR_RETURN(manifest.iteration, Int64Of(root["iteration"], "iteration"));
  HETERO_ASSIGN_OR_RETURN(manifest.world_size, Int64Of(root["world_size"], "world_size"));
  HETERO_ASSIGN_OR_RETURN(manifest.block_bytes, Int64Of(root["block"], "block"));
  if (manifest.block_bytes == 0) return Wrong("block", "must be at least 1", root["block"]);
  manifest.grids = DecodeFloats(root["grids"]);
  manifest.state = DecodeFloats(root["state"]);
  for (const Json& value : root["files"]) {
    HETERO_ASSIGN_OR_RETURN(ManifestFile file, ParseFile(value));
    manifest.files.push_back(std::move(file));
  }
  for (const auto& [key, value] : root["tensors"].items()) {
    absl::StatusOr<ManifestTensor> tensor = ParseTensor(key, value, manifest.files);
    HETERO_RETURN_IF_ERROR(tensor.status()).With(absl::StrCat("tensor ", key));
    manifest.tensors.emplace_hint(manifest.tensors.end(), key, *std::move(tensor));
  }
  for (const auto& [name, value] : root["objects"].items()) {
    absl::StatusOr<ManifestObject> object = ParseObject(value, manifest.files);
    HETERO_RETURN_IF_ERROR(object.status()).With(absl::StrCat("object ", name));
    manifest.objects.emplace_hint(manifest.objects.end(), name, *object);
  }
  HETERO_RETURN_IF_ERROR(CheckApart(manifest));
  return manifest;
}

int64_t NumBlocks(const ManifestChunk& chunk, int64_t block_bytes) {
  return CeilDiv(chunk.bytes, block_bytes);
}

absl::StatusOr<BlockSums> BlockSums::Parse(const Manifest& manifest, std::string_view text) {
  BlockSums sums;
  size_t count = 0;
  for (const auto& [key, tensor] : manifest.tensors) {
    std::vector<size_t>& starts = sums.starts_[key];
    for (const ManifestChunk& chunk : tensor.chunks) {
      starts.push_back(count);
      count += static_cast<size_t>(NumBlocks(chunk, manifest.block_bytes));
    }
    starts.push_back(count);
  }
  if (text.size() % 4 != 0 || text.size() / 4 != count) {
    return absl::DataLossError(absl::StrCat(kBlockSumsName, " has ", text.size(), " bytes, ", count,
                                            " checksums of blocks take 4 each"));
  }
  sums.sums_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    sums.sums_.push_back(static_cast<uint32_t>(ReadLittle(text, 4 * i, 4)));
  }
  return sums;
}

std::span<const uint32_t> BlockSums::Of(std::string_view key, size_t chunk) const {
  const std::vector<size_t>& starts = starts_.find(key)->second;
  return std::span(sums_).subspan(starts[chunk], starts[chunk + 1] - starts[chunk]);
}

std::string BlockSumsText(std::span<const uint32_t> sums) {
  std::string text;
  for (const uint32_t sum : sums) AppendLittle(text, sum, 4);
  return text;
}

std::string CommitText(std::string_view manifest_text) {
  return absl::StrCat("sha256 ", Sha256Hex(manifest_text), " ", kManifestName, "\n");
}

absl::Status CheckCommit(std::string_view commit, std::string_view manifest_text) {
  const std::string expected = CommitText(manifest_text);
  if (commit == expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(kCommitName, " is ", Shortened(Json(std::string(commit.substr(0, 200)))),
                   ", that of ", kManifestName, " is ", Shortened(Json(expected))));
}

}  // namespace hetero
