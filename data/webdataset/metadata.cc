#include "hetero/data/webdataset/metadata.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace hetero::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kJsonIndent = 2;

// Runs `read` over the parsed text; yaml-cpp's exceptions become errors.
template <typename T>
absl::StatusOr<T> WithYaml(std::string_view text, std::string_view what,
                           absl::StatusOr<T> (*read)(const YAML::Node&)) {
  absl::StatusOr<T> result;
  try {
    result = read(YAML::Load(std::string(text)));
  } catch (const YAML::Exception& error) {
    result = absl::InvalidArgumentError(error.what());
  }
  HETERO_RETURN_IF_ERROR(result.status()).With(what);
  return result;
}

absl::Status Wrong(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", rule));
}

absl::StatusOr<std::vector<std::string>> ReadStrings(const YAML::Node& node,
                                                     std::string_view field) {
  std::vector<std::string> strings;
  if (!node || node.IsNull()) return strings;
  if (!node.IsSequence()) return Wrong(field, "must be a list of names");
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) return Wrong(field, "must be a list of names");
    strings.push_back(item.as<std::string>());
  }
  return strings;
}

// Of what a program wrote, not a user.
absl::Status Damaged(std::string_view field, std::string_view rule) {
  return absl::DataLossError(absl::StrCat(field, " ", rule, "; prepare the data set again"));
}

absl::Status CheckCounts(const DatasetInfo& info) {
  if (info.shard_counts.empty()) return Damaged("shard_counts", "lists no shard");
  for (const auto& [shard, count] : info.shard_counts) {
    if (count <= 0) {
      return Damaged(absl::StrCat("shard_counts of ", shard), absl::StrFormat("is %d", count));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DatasetInfo> ReadInfo(const YAML::Node& root) {
  DatasetInfo info;
  if (!root.IsMap() || !root["shard_counts"] || !root["shard_counts"].IsMap()) {
    return Damaged("shard_counts", "must map shard names to numbers of samples");
  }
  if (root["energon_version"]) info.energon_version = root["energon_version"].as<std::string>();
  for (const auto& entry : root["shard_counts"]) {
    info.shard_counts.emplace_back(entry.first.as<std::string>(), entry.second.as<int64_t>());
  }
  HETERO_RETURN_IF_ERROR(CheckCounts(info));
  return info;
}

absl::StatusOr<SplitConfig> ReadSplit(const YAML::Node& root) {
  SplitConfig config;
  if (!root.IsMap() || !root["split_parts"] || !root["split_parts"].IsMap()) {
    return Wrong("split_parts", "must map split names to lists of shards");
  }
  for (const auto& entry : root["split_parts"]) {
    const std::string name = entry.first.as<std::string>();
    HETERO_ASSIGN_OR_RETURN(std::vector<std::string> patterns,
                            ReadStrings(entry.second, absl::StrCat("split_parts.", name)));
    config.parts.emplace_back(name, std::move(patterns));
  }
  HETERO_ASSIGN_OR_RETURN(config.exclude, ReadStrings(root["exclude"], "exclude"));
  return config;
}

absl::StatusOr<CaptioningFields> ReadFields(const YAML::Node& root) {
  constexpr std::string_view kSupported =
      "supported is sample_type: {__module__: megatron.energon, __class__: CaptioningSample} with "
      "a "
      "field_map";
  if (!root.IsMap()) return Wrong("the file", absl::StrCat("is no map; ", kSupported));
  if (const YAML::Node loader = root["__class__"]; loader && loader.IsScalar()) {
    return Wrong("__class__", absl::StrCat("is ", loader.Scalar(), "; ", kSupported,
                                           " and no __class__ beside it"));
  }
  const YAML::Node type = root["sample_type"];
  if (!type) return Wrong("sample_type", absl::StrCat("is not set; ", kSupported));
  if (!type.IsMap() || !type["__class__"]) {
    return Wrong("sample_type.__class__", absl::StrCat("is not set; ", kSupported));
  }
  const std::string name = type["__class__"].as<std::string>();
  if (name != "CaptioningSample") {
    return Wrong("sample_type.__class__",
                 absl::StrCat("is ", name, "; CaptioningSample is supported"));
  }
  if (root["sample_loader"] || root["part_filter"]) {
    return Wrong("sample_loader", "is Python code; name the members in field_map instead");
  }
  const YAML::Node map = root["field_map"];
  if (!map || !map.IsMap() || !map["image"] || !map["caption"]) {
    return Wrong("field_map", "must name the members of image and caption");
  }
  CaptioningFields fields = {.image = map["image"].as<std::string>(),
                             .caption = map["caption"].as<std::string>()};
  for (const std::string& field : {fields.image, fields.caption}) {
    if (field.find('[') != std::string::npos) {
      return Wrong("field_map",
                   absl::StrCat("entry ", field, " indexes into a member; name plain members"));
    }
  }
  return fields;
}

std::string Emit(const std::function<void(YAML::Emitter&)>& write) {
  YAML::Emitter out;
  write(out);
  return absl::StrCat(out.c_str(), "\n");
}

}  // namespace

absl::StatusOr<DatasetInfo> ParseDatasetInfo(std::string_view json) {
  const auto wrong = [](std::string_view field, std::string_view rule) {
    return Annotate(Damaged(field, rule), kInfoFile);
  };
  const Json root = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return wrong("the file", "is not valid JSON");
  if (!root.is_object() || !root.contains("shard_counts") || !root["shard_counts"].is_object()) {
    return wrong("shard_counts", "must map shard names to numbers of samples");
  }
  DatasetInfo info;
  if (root.contains("energon_version") && root["energon_version"].is_string()) {
    info.energon_version = root["energon_version"].get<std::string>();
  }
  for (const auto& [shard, count] : root["shard_counts"].items()) {
    if (!count.is_number_integer()) {
      return wrong(absl::StrCat("shard_counts of ", shard), "is no integer");
    }
    info.shard_counts.emplace_back(shard, count.get<int64_t>());
  }
  HETERO_RETURN_IF_ERROR(CheckCounts(info)).With(kInfoFile);
  return info;
}

absl::StatusOr<DatasetInfo> ParseDatasetInfoYaml(std::string_view yaml) {
  absl::StatusOr<DatasetInfo> info = WithYaml<DatasetInfo>(yaml, kOldInfoFile, ReadInfo);
  if (!info.ok()) return absl::DataLossError(info.status().message());
  return info;
}

std::string FormatDatasetInfo(const DatasetInfo& info) {
  Json root;
  root["energon_version"] = info.energon_version;
  root["shard_counts"] = Json::object();
  for (const auto& [shard, count] : info.shard_counts) root["shard_counts"][shard] = count;
  return root.dump(kJsonIndent, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

absl::StatusOr<SplitConfig> ParseSplitConfig(std::string_view yaml) {
  return WithYaml<SplitConfig>(yaml, kSplitFile, ReadSplit);
}

std::string FormatSplitConfig(const SplitConfig& config) {
  return Emit([&](YAML::Emitter& out) {
    out << YAML::BeginMap << YAML::Key << "split_parts" << YAML::Value << YAML::BeginMap;
    for (const auto& [name, patterns] : config.parts) {
      out << YAML::Key << name << YAML::Value << patterns;
    }
    out << YAML::EndMap << YAML::Key << "exclude" << YAML::Value;
    if (config.exclude.empty()) out << YAML::Flow;
    out << config.exclude << YAML::EndMap;
  });
}

absl::StatusOr<CaptioningFields> ParseCaptioningFields(std::string_view yaml) {
  return WithYaml<CaptioningFields>(yaml, kSampleFile, ReadFields);
}

std::string FormatCaptioningFields(const CaptioningFields& fields) {
  return Emit([&](YAML::Emitter& out) {
    out << YAML::BeginMap << YAML::Key << "sample_type" << YAML::Value << YAML::BeginMap
        << YAML::Key << "__module__" << YAML::Value << "megatron.energon" << YAML::Key
        << "__class__" << YAML::Value << "CaptioningSample" << YAML::EndMap << YAML::Key
        << "field_map" << YAML::Value << YAML::BeginMap << YAML::Key << "image" << YAML::Value
        << fields.image << YAML::Key << "caption" << YAML::Value << fields.caption << YAML::EndMap
        << YAML::EndMap;
  });
}

}  // namespace hetero::data
