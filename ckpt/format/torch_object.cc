#include "hetero/ckpt/format/torch_object.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/pickle_writer.h"
#include "hetero/ckpt/format/zip.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

// Shared values are copied; a pickle that doubles itself in every level would fill any memory.
constexpr int64_t kCopies = 16;
constexpr int64_t kCopiesOfSmall = 4096;

std::string Archive(std::string_view root, std::string_view pickle) {
  ZipLayout layout;
  std::string archive;
  const auto add = [&](std::string_view name, std::string_view text) {
    archive +=
        layout.LocalHeader(absl::StrCat(root, "/", name), std::ssize(text), Crc32(AsBytes(text)));
    archive += text;
  };
  add("byteorder", "little");
  add("version", "3\n");
  add("data.pkl", pickle);
  return archive + layout.Directory();
}

class Converter {
 public:
  explicit Converter(int64_t budget) : budget_(budget) {}

  absl::StatusOr<Json> Convert(const PickleValue& value) {
    if (--budget_ < 0) {
      return absl::DataLossError("the values of the pickle share parts too often");
    }
    switch (value.kind()) {
      case PickleKind::kNone:
        return Json(nullptr);
      case PickleKind::kBool:
        return Json(value.boolean());
      case PickleKind::kInt:
        // Of one kind with what our JSON parser makes of it.
        if (value.integer() >= 0) return Json(static_cast<uint64_t>(value.integer()));
        return Json(value.integer());
      case PickleKind::kUint:
        return Json(value.unsigned_integer());
      case PickleKind::kFloat:
        return Json(value.real());
      case PickleKind::kText:
        return Json(std::string(value.text()));
      case PickleKind::kBytes:
        return Json{{"__bytes__", absl::BytesToHexString(value.text())}};
      case PickleKind::kTuple:
      case PickleKind::kList:
      case PickleKind::kSet:
        return Items(value);
      case PickleKind::kDict:
        return Dict(value);
      case PickleKind::kGlobal:
        return Json{{"__global__", std::string(value.text())}};
      case PickleKind::kPersistent: {
        HETERO_ASSIGN_OR_RETURN(Json id, Convert(value.id()));
        return Json{{"__storage__", std::move(id)}};
      }
      case PickleKind::kObject:
        return Object(value);
    }
    return Json(nullptr);
  }

 private:
  absl::StatusOr<Json> Items(const PickleValue& value) {
    Json items = Json::array();
    for (size_t i = 0; i < value.size(); ++i) {
      HETERO_ASSIGN_OR_RETURN(Json item, Convert(value[i]));
      items.push_back(std::move(item));
    }
    return items;
  }

  absl::StatusOr<Json> Dict(const PickleValue& value) {
    bool has_text_keys = true;
    for (size_t i = 0; i < value.size(); i += 2) {
      if (!value[i].is(PickleKind::kText)) has_text_keys = false;
    }
    Json object = Json::object();
    Json pairs = Json::array();
    for (size_t i = 0; i < value.size(); i += 2) {
      HETERO_ASSIGN_OR_RETURN(Json item, Convert(value[i + 1]));
      if (has_text_keys) {
        object[std::string(value[i].text())] = std::move(item);
      } else {
        HETERO_ASSIGN_OR_RETURN(Json key, Convert(value[i]));
        pairs.push_back(Json::array({std::move(key), std::move(item)}));
      }
    }
    if (has_text_keys) return object;
    return Json{{"__items__", std::move(pairs)}};
  }

  absl::StatusOr<Json> Object(const PickleValue& value) {
    if (value.IsObjectOf("argparse.Namespace") && value.has_state() &&
        value.state().is(PickleKind::kDict)) {
      return Convert(value.state());
    }
    if (value.IsObjectOf("collections.OrderedDict") && !value.has_state()) {
      return value.has_items() ? Convert(value.items()) : Json::object();
    }
    const PickleValue arguments = value.arguments();
    if (value.IsObjectOf("torch.Size") && arguments.is(PickleKind::kTuple) &&
        arguments.size() == 1) {
      return Convert(arguments[size_t{0}]);
    }
    Json object = Json::object();
    if (value.callable().is(PickleKind::kGlobal)) {
      object["__class__"] = std::string(value.callable().text());
    } else {
      HETERO_ASSIGN_OR_RETURN(object["__class__"], Convert(value.callable()));
    }
    HETERO_ASSIGN_OR_RETURN(object["arguments"], Convert(arguments));
    if (value.has_state()) {
      HETERO_ASSIGN_OR_RETURN(object["state"], Convert(value.state()));
    }
    if (value.has_items()) {
      HETERO_ASSIGN_OR_RETURN(object["items"], Convert(value.items()));
    }
    return object;
  }

  int64_t budget_;
};

absl::StatusOr<Json> ReadArchive(const ReadableFile& file) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<ZipRecord> records, ReadZipDirectory(file));
  for (const ZipRecord& record : records) {
    if (!absl::EndsWith(record.name, "/data.pkl")) continue;
    HETERO_ASSIGN_OR_RETURN(std::string bytes, ReadZipRecord(file, record));
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Pickle> pickle, Pickle::Parse(std::move(bytes)));
    return ToJson(*pickle);
  }
  return absl::DataLossError("the archive has no data.pkl");
}

}  // namespace

std::string ObjectItem(const Json& value) {
  PickleWriter pickle(/*memo=*/true);
  pickle.Value(Json::array({value}));
  return Archive("archive", std::move(pickle).Finish());
}

std::string CommonText(const Json& value) {
  PickleWriter pickle(/*memo=*/true);
  pickle.EmptyDict();
  if (!value.empty()) {
    pickle.Mark();
    for (const auto& [name, item] : value.items()) {
      pickle.Text(name);
      const bool is_namespace = name == "args" && item.is_object();
      if (is_namespace) pickle.Global("argparse", "Namespace").EmptyTuple().NewObject();
      pickle.Value(item);
      if (is_namespace) pickle.Build();
    }
    pickle.SetItems();
  }
  return Archive("common", std::move(pickle).Finish());
}

absl::StatusOr<Json> ReadObject(const ReadableFile& item) {
  HETERO_ASSIGN_OR_RETURN(Json value, ReadArchive(item));
  if (!value.is_array() || value.size() != 1) return value;
  return Json(std::move(value[0]));
}

absl::StatusOr<Json> ReadCommon(const ReadableFile& file) {
  HETERO_ASSIGN_OR_RETURN(Json value, ReadArchive(file));
  if (!value.is_object()) return absl::DataLossError("common state is no dict");
  return value;
}

absl::StatusOr<Json> ToJson(const Pickle& pickle) {
  const int64_t budget = kCopies * static_cast<int64_t>(pickle.num_values()) + kCopiesOfSmall;
  return Converter(budget).Convert(pickle.value());
}

}  // namespace hetero
