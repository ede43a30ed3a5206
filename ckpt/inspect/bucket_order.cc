#include "hetero/ckpt/inspect/bucket_order.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/strict_json.h"
#include "hetero/ckpt/plan/box.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

// Of a parameter: as many as PayloadBytes allows a tensor of 8 bytes each.
constexpr int64_t kMaxElements = int64_t{1} << 56;

absl::StatusOr<const Json*> Field(const Json& object, const char* name, Json::value_t type) {
  const auto field = object.is_object() ? object.find(name) : object.end();
  if (field != object.end() && field->type() == type) return &*field;
  return absl::InvalidArgumentError(
      absl::StrCat("has no ", Json(type).type_name(), " \"", name, "\""));
}

absl::StatusOr<std::vector<int64_t>> Numbers(const Json& object, const char* name) {
  HETERO_ASSIGN_OR_RETURN(const Json* const list, Field(object, name, Json::value_t::array));
  return Int64sOf(*list, name);
}

absl::StatusOr<BucketPart> ParsePart(const Json& json) {
  BucketPart part;
  HETERO_ASSIGN_OR_RETURN(const Json* const key, Field(json, "key", Json::value_t::string));
  part.key = *key;
  HETERO_ASSIGN_OR_RETURN(part.shape, Numbers(json, "shape"));
  // Bounded, for all that is computed of it.
  HETERO_RETURN_IF_ERROR(PayloadBytes(ElementType::kF64, part.shape).status()).With(part.key);
  part.box = WholeBox(part.shape);
  if (json.contains("offset") || json.contains("size")) {
    HETERO_ASSIGN_OR_RETURN(part.box.offset, Numbers(json, "offset"));
    HETERO_ASSIGN_OR_RETURN(part.box.size, Numbers(json, "size"));
  }
  if (!IsInside(part.box, part.shape)) {
    return absl::InvalidArgumentError(absl::StrCat(part.key, ": ", ToString(part.box),
                                                   " is not inside of ", ShapeText(part.shape)));
  }
  return part;
}

absl::StatusOr<BucketGroup> ParseGroup(const Json& json) {
  BucketGroup group;
  HETERO_ASSIGN_OR_RETURN(const Json* const buckets, Field(json, "buckets", Json::value_t::string));
  group.buckets = *buckets;
  HETERO_ASSIGN_OR_RETURN(const Json* const prefix, Field(json, "prefix", Json::value_t::string));
  group.prefix = *prefix;
  HETERO_ASSIGN_OR_RETURN(const Json* const parameters,
                          Field(json, "parameters", Json::value_t::array));
  for (const Json& parts : *parameters) {
    BucketParameter& parameter = group.parameters.emplace_back();
    const auto where = absl::StrCat("parameter ", group.parameters.size());
    if (!parts.is_array() || parts.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(where, " is no list of parts"));
    }
    int64_t elements = 0;
    for (const Json& part : parts) {
      absl::StatusOr<BucketPart> parsed = ParsePart(part);
      HETERO_RETURN_IF_ERROR(parsed.status()).With(where);
      elements += NumElements(parsed->box);
      if (elements > kMaxElements) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, " has more than ", kMaxElements, " elements"));
      }
      parameter.push_back(*std::move(parsed));
    }
  }
  return group;
}

absl::StatusOr<std::vector<BucketGroup>> ParseGroups(std::string_view text) {
  HETERO_ASSIGN_OR_RETURN(const Json root, ParseStrictJson(text));
  HETERO_ASSIGN_OR_RETURN(const Json* const list, Field(root, "groups", Json::value_t::array));
  std::vector<BucketGroup> groups;
  for (const Json& json : *list) {
    absl::StatusOr<BucketGroup> group = ParseGroup(json);
    HETERO_RETURN_IF_ERROR(group.status()).With(absl::StrCat("group ", groups.size() + 1));
    groups.push_back(*std::move(group));
  }
  return groups;
}

}  // namespace

absl::StatusOr<std::vector<BucketGroup>> ParseBucketOrder(std::string_view text) {
  absl::StatusOr<std::vector<BucketGroup>> groups = ParseGroups(text);
  if (groups.ok()) return groups;
  return absl::InvalidArgumentError(groups.status().message());
}

absl::StatusOr<std::vector<BucketGroup>> ReadBucketOrder(Storage& storage,
                                                         const std::filesystem::path& path) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, path));
  absl::StatusOr<std::vector<BucketGroup>> groups = ParseBucketOrder(text);
  HETERO_RETURN_IF_ERROR(groups.status()).With(path.native());
  return groups;
}

}  // namespace hetero
