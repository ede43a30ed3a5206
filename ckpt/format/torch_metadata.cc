#include "hetero/ckpt/format/torch_metadata.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/file_range.h"
#include "hetero/ckpt/format/pickle.h"
#include "hetero/ckpt/format/pickle_writer.h"
#include "hetero/ckpt/format/strict_json.h"
#include "hetero/ckpt/format/torch_types.h"
#include "hetero/ckpt/plan/coverage.h"

namespace hetero {
namespace {

constexpr std::string_view kModule = "torch.distributed.checkpoint.metadata";
constexpr std::string_view kFileSystem = "torch.distributed.checkpoint.filesystem";

constexpr std::string_view kBackend = "torch_dist";
constexpr int64_t kBackendVersion = 1;

// Writing.

void BeginObject(PickleWriter& pickle, std::string_view module, std::string_view name) {
  pickle.Global(module, name).EmptyTuple().NewObject();
}

void WriteSize(PickleWriter& pickle, std::span<const int64_t> sizes) {
  pickle.Global("torch", "Size").Mark().Ints(sizes).Tuple().Reduce();
}

void WriteTensor(PickleWriter& pickle, const StoredTensor& tensor) {
  BeginObject(pickle, kModule, "TensorStorageMetadata");
  pickle.EmptyDict().Mark();

  pickle.Text("properties");
  BeginObject(pickle, kModule, "TensorProperties");
  pickle.Mark();
  pickle.Global("torch", TorchTypeOf(tensor.type)->dtype);
  pickle.Global("torch.serialization", "_get_layout").Mark().Text("torch.strided").Tuple().Reduce();
  pickle.Bool(false);  // requires_grad
  pickle.Global(kModule, "_MEM_FORMAT_ENCODING").Mark().Int(0).Tuple().Reduce();
  pickle.Bool(false);  // pin_memory
  pickle.Tuple().Build();

  pickle.Text("size");
  WriteSize(pickle, tensor.shape);
  pickle.Text("chunks").EmptyList().Mark();
  for (const StoredChunk& chunk : tensor.chunks) {
    BeginObject(pickle, kModule, "ChunkStorageMetadata");
    pickle.EmptyDict().Mark();
    pickle.Text("offsets");
    WriteSize(pickle, chunk.box.offset);
    pickle.Text("sizes");
    WriteSize(pickle, chunk.box.size);
    pickle.SetItems().Build();
  }
  pickle.Append().SetItems().Build();
}

// A pair of the dict storage_data. `index` and `offset` are of a tensor's chunk.
void WritePlace(PickleWriter& pickle, std::string_view key, std::optional<size_t> index,
                const Box* box, const StoredPlace& place) {
  BeginObject(pickle, kModule, "MetadataIndex");
  pickle.EmptyDict().Mark().Text("fqn").Text(key).Text("offset");
  if (box != nullptr) {
    WriteSize(pickle, box->offset);
  } else {
    pickle.None();
  }
  pickle.Text("index");
  if (index) {
    pickle.Int(static_cast<int64_t>(*index));
  } else {
    pickle.None();
  }
  pickle.SetItems().Build();

  BeginObject(pickle, kFileSystem, "_StorageInfo");
  pickle.EmptyDict().Mark();
  pickle.Text("relative_path").Text(place.file);
  pickle.Text("offset").Int(place.offset);
  pickle.Text("length").Int(place.bytes);
  pickle.SetItems().Build();
}

// Reading.

absl::Status Wrong(std::string_view what, std::string_view rule) {
  return absl::DataLossError(absl::StrCat(what, " ", rule));
}

bool IsOf(const PickleValue& value, std::string_view module, std::string_view name) {
  return value.is(PickleKind::kObject) && value.callable().is(PickleKind::kGlobal) &&
         value.callable().text() == absl::StrCat(module, ".", name);
}

// The state of an object of a class, a dict.
absl::StatusOr<PickleValue> StateOf(const PickleValue& value, std::string_view module,
                                    std::string_view name) {
  if (!IsOf(value, module, name)) return Wrong(name, "is another value");
  if (!value.has_state() || !value.state().is(PickleKind::kDict)) {
    return Wrong(name, "has no fields");
  }
  return value.state();
}

// A torch.Size, or a tuple or list like one.
absl::StatusOr<std::vector<int64_t>> ReadSize(PickleValue value, std::string_view name) {
  if (value.IsObjectOf("torch.Size") && value.arguments().is(PickleKind::kTuple)) {
    if (value.arguments().size() == 0) return std::vector<int64_t>();
    value = value.arguments()[size_t{0}];
  }
  if (!value.is(PickleKind::kTuple) && !value.is(PickleKind::kList)) {
    return Wrong(name, "is no torch.Size");
  }
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is(PickleKind::kInt)) return Wrong(name, "is no torch.Size of integers");
    sizes.push_back(value[i].integer());
  }
  return sizes;
}

absl::StatusOr<int64_t> ReadInt(const PickleValue& fields, std::string_view name) {
  const PickleValue value = fields[name];
  if (!value.is(PickleKind::kInt) || value.integer() < 0) {
    return Wrong(name, "must be an integer that is not negative");
  }
  return value.integer();
}

absl::StatusOr<ElementType> ReadType(const PickleValue& properties) {
  // The module has moved; the state is a tuple that begins with the type, in old files a dict.
  if (!properties.is(PickleKind::kObject) || !properties.callable().is(PickleKind::kGlobal) ||
      !absl::EndsWith(properties.callable().text(), ".TensorProperties") ||
      !properties.has_state()) {
    return Wrong("properties", "is no TensorProperties");
  }
  const PickleValue state = properties.state();
  const bool is_tuple = state.is(PickleKind::kTuple) && state.size() > 0;
  const PickleValue dtype = is_tuple ? state[size_t{0}] : state["dtype"];
  if (!dtype.is(PickleKind::kGlobal)) return Wrong("properties", "has no dtype");
  std::string_view name = dtype.text();
  const bool is_torch = absl::ConsumePrefix(&name, "torch.");
  const std::optional<TorchType> type = TorchTypeOfDtype(name);
  if (!is_torch || !type) return Wrong("dtype", absl::StrCat("is the unknown ", dtype.text()));
  return type->type;
}

// By key and, of a tensor, offset of the chunk.
using Places = std::map<std::pair<std::string, std::optional<std::vector<int64_t>>>, StoredPlace>;

absl::StatusOr<StoredPlace> ReadPlace(const PickleValue& value) {
  HETERO_ASSIGN_OR_RETURN(const PickleValue fields, StateOf(value, kFileSystem, "_StorageInfo"));
  if (fields.Has("transform_descriptors") &&
      !fields["transform_descriptors"].is(PickleKind::kNone)) {
    return absl::UnimplementedError("its items were transformed (transform_descriptors)");
  }
  const PickleValue path = fields["relative_path"];
  if (!path.is(PickleKind::kText)) return Wrong("relative_path", "is no text");
  StoredPlace place = {.file = std::string(path.text())};
  if (place.file.empty() || place.file == "." || place.file == ".." ||
      absl::StrContains(place.file, '/') || absl::StrContains(place.file, '\0')) {
    return Wrong("relative_path", "is no name of a file in this folder");
  }
  HETERO_ASSIGN_OR_RETURN(place.offset, ReadInt(fields, "offset"));
  HETERO_ASSIGN_OR_RETURN(place.bytes, ReadInt(fields, "length"));
  return place;
}

absl::StatusOr<Places> ReadPlaces(const PickleValue& dict) {
  if (!dict.is(PickleKind::kDict)) return Wrong("storage_data", "is no dict");
  Places places;
  for (size_t i = 0; i < dict.size(); i += 2) {
    HETERO_ASSIGN_OR_RETURN(const PickleValue fields, StateOf(dict[i], kModule, "MetadataIndex"));
    const PickleValue key = fields["fqn"];
    if (!key.is(PickleKind::kText)) return Wrong("fqn", "of a MetadataIndex is no text");
    std::optional<std::vector<int64_t>> offset;
    if (!fields["offset"].is(PickleKind::kNone)) {
      HETERO_ASSIGN_OR_RETURN(offset, ReadSize(fields["offset"], "offset of a MetadataIndex"));
    }
    absl::StatusOr<StoredPlace> place = ReadPlace(dict[i + 1]);
    HETERO_RETURN_IF_ERROR(place.status()).With(key.text());
    if (!places.emplace(std::pair(std::string(key.text()), std::move(offset)), *std::move(place))
             .second) {
      return Wrong(key.text(), "has two places for one offset");
    }
  }
  return places;
}

absl::StatusOr<StoredTensor> ReadTensor(const std::string& key, const PickleValue& value,
                                        const Places& places) {
  HETERO_ASSIGN_OR_RETURN(const PickleValue fields,
                          StateOf(value, kModule, "TensorStorageMetadata"));
  StoredTensor tensor;
  HETERO_ASSIGN_OR_RETURN(tensor.type, ReadType(fields["properties"]));
  HETERO_ASSIGN_OR_RETURN(tensor.shape, ReadSize(fields["size"], "size"));
  const absl::StatusOr<int64_t> bytes = PayloadBytes(tensor.type, tensor.shape);
  if (!bytes.ok()) return absl::DataLossError(bytes.status().message());
  const PickleValue chunks = fields["chunks"];
  if (!chunks.is(PickleKind::kList)) return Wrong("chunks", "is no list");
  std::vector<CoveringBox> boxes;
  for (size_t i = 0; i < chunks.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(const PickleValue chunk_fields,
                            StateOf(chunks[i], kModule, "ChunkStorageMetadata"));
    StoredChunk chunk;
    HETERO_ASSIGN_OR_RETURN(chunk.box.offset, ReadSize(chunk_fields["offsets"], "offsets"));
    HETERO_ASSIGN_OR_RETURN(chunk.box.size, ReadSize(chunk_fields["sizes"], "sizes"));
    if (!IsInside(chunk.box, tensor.shape)) {
      return Wrong(absl::StrCat("chunk ", ToString(chunk.box)),
                   absl::StrCat("lies outside of the tensor ", ShapeText(tensor.shape)));
    }
    const auto place = places.find({key, chunk.box.offset});
    if (place == places.end()) {
      return Wrong(absl::StrCat("chunk ", ToString(chunk.box)), "has no place in a file");
    }
    chunk.place = place->second;
    boxes.push_back({.box = chunk.box, .holder = absl::StrCat("chunk ", i)});
    tensor.chunks.push_back(std::move(chunk));
  }
  const absl::Status covered = CheckCoverage(key, tensor.shape, boxes);
  if (!covered.ok()) return absl::DataLossError(covered.message());
  return tensor;
}

absl::Status CheckApart(const StoredIndex& index) {
  std::vector<std::pair<const StoredPlace*, const std::string*>> places;
  for (const auto& [key, tensor] : index.tensors) {
    for (const StoredChunk& chunk : tensor.chunks) places.emplace_back(&chunk.place, &key);
  }
  for (const auto& [name, place] : index.objects) places.emplace_back(&place, &name);
  std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first->file, a.first->offset) < std::tie(b.first->file, b.first->offset);
  });
  for (size_t i = 1; i < places.size(); ++i) {
    const StoredPlace& a = *places[i - 1].first;
    const StoredPlace& b = *places[i].first;
    if (a.file != b.file || a.bytes <= b.offset - a.offset) continue;
    return absl::DataLossError(absl::StrCat(*places[i - 1].second, " and ", *places[i].second,
                                            " overlap at byte ", b.offset, " of ", a.file));
  }
  return absl::OkStatus();
}

std::vector<int64_t> WithoutOnes(std::vector<int64_t> shape) {
  std::erase(shape, 1);
  return shape;
}

}  // namespace

std::string TorchMetadataText(const StoredIndex& index) {
  PickleWriter pickle(/*memo=*/true);
  BeginObject(pickle, kModule, "Metadata");
  pickle.EmptyDict().Mark();

  pickle.Text("state_dict_metadata").EmptyDict().Mark();
  for (const auto& [key, tensor] : index.tensors) {
    pickle.Text(key);
    WriteTensor(pickle, tensor);
  }
  for (const auto& [name, place] : index.objects) {
    pickle.Text(name);
    BeginObject(pickle, kModule, "BytesStorageMetadata");
  }
  pickle.SetItems();

  pickle.Text("planner_data").None();
  pickle.Text("storage_data").EmptyDict().Mark();
  for (const auto& [key, tensor] : index.tensors) {
    for (size_t i = 0; i < tensor.chunks.size(); ++i) {
      WritePlace(pickle, key, i, &tensor.chunks[i].box, tensor.chunks[i].place);
    }
  }
  for (const auto& [name, place] : index.objects) {
    WritePlace(pickle, name, std::nullopt, nullptr, place);
  }
  pickle.SetItems();

  pickle.Text("storage_meta").None();
  pickle.Text("version").None();
  pickle.SetItems().Build();
  return std::move(pickle).Finish();
}

absl::StatusOr<StoredIndex> ParseTorchMetadata(std::string bytes) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Pickle> pickle, Pickle::Parse(std::move(bytes)));
  HETERO_ASSIGN_OR_RETURN(const PickleValue fields, StateOf(pickle->value(), kModule, "Metadata"));
  HETERO_ASSIGN_OR_RETURN(const Places places, ReadPlaces(fields["storage_data"]));
  const PickleValue entries = fields["state_dict_metadata"];
  if (!entries.is(PickleKind::kDict)) return Wrong("state_dict_metadata", "is no dict");

  StoredIndex index;
  for (size_t i = 0; i < entries.size(); i += 2) {
    if (!entries[i].is(PickleKind::kText)) return Wrong("state_dict_metadata", "has another key");
    const std::string key(entries[i].text());
    if (index.tensors.contains(key) || index.objects.contains(key)) {
      return Wrong(key, "is in the index twice");
    }
    if (IsOf(entries[i + 1], kModule, "BytesStorageMetadata")) {
      const auto place = places.find({key, std::nullopt});
      if (place == places.end()) return Wrong(key, "has no place in a file");
      index.objects[key] = place->second;
      continue;
    }
    absl::StatusOr<StoredTensor> tensor = ReadTensor(key, entries[i + 1], places);
    HETERO_RETURN_IF_ERROR(tensor.status()).With(key);
    index.tensors[key] = *std::move(tensor);
  }
  HETERO_RETURN_IF_ERROR(CheckApart(index));
  return index;
}

absl::StatusOr<TorchItem> ReadStoredItem(const ReadableFile& file, const StoredTensor& tensor,
                                         const StoredChunk& chunk) {
  const StoredPlace& place = chunk.place;
  if (place.bytes > file.size() || place.offset > file.size() - place.bytes) {
    return absl::DataLossError(absl::StrCat(place.file, ": ", place.bytes, " bytes at ",
                                            place.offset, " lie outside of ", file.size()));
  }
  absl::StatusOr<TorchItem> item = ReadTorchItem(FileRange(file, place.offset, place.bytes));
  HETERO_RETURN_IF_ERROR(item.status()).With(absl::StrCat(place.file, ", item at ", place.offset));
  // Axes that stack layers or experts are in the index and may be left out of the item.
  if (item->type != tensor.type || WithoutOnes(item->shape) != WithoutOnes(chunk.box.size)) {
    return absl::DataLossError(absl::StrCat(place.file, ", item at ", place.offset, " is ",
                                            Name(item->type), " ", ShapeText(item->shape),
                                            ", the index says ", Name(tensor.type), " ",
                                            ShapeText(chunk.box.size)));
  }
  return item;
}

std::string BackendText() {
  return absl::StrCat("{\"sharded_backend\": \"", kBackend,
                      "\", \"sharded_backend_version\": ", kBackendVersion, "}");
}

absl::Status CheckBackend(std::string_view text) {
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json root, ParseStrictJson(text));
  if (!root.is_object() || !root.contains("sharded_backend") ||
      !root.contains("sharded_backend_version")) {
    return absl::DataLossError(
        absl::StrCat(kBackendName, " has no sharded_backend: no ", "distributed checkpoint"));
  }
  if (root["sharded_backend"] == kBackend && root["sharded_backend_version"] == kBackendVersion) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(kBackendName, " says ", Shortened(root["sharded_backend"]), " version ",
                   Shortened(root["sharded_backend_version"]), "; only ", kBackend, " ",
                   kBackendVersion, " is read"));
}

}  // namespace hetero
