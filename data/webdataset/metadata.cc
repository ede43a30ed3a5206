#include "hetero/data/webdataset/metadata.h"

#include <array>
#include <functional>
#include <utility>

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

constexpr std::string_view kModule = "megatron.energon";
constexpr std::array<std::string_view, 4> kClasses = {"CaptioningSample", "VQASample", "TextSample",
                                                      "CrudeWebdataset"};

// The members of one kind of typed samples: their names in a field_map, and where they go.
using NamedFields = std::vector<std::pair<std::string_view, std::string*>>;

NamedFields Named(CaptioningFields& fields) {
  return {{"image", &fields.image}, {"caption", &fields.caption}};
}
NamedFields Named(QuestionFields& fields) {
  return {{"image", &fields.image}, {"context", &fields.context}, {"answers", &fields.answers}};
}
NamedFields Named(TextFields& fields) { return {{"text", &fields.text}}; }
NamedFields Named(ConversationFields&) { return {}; }

// Whether a place in a member may stand for `field`.
bool MayIndex(std::string_view field) { return field != "image" && field != "caption"; }

absl::StatusOr<SampleFields> ReadFieldMap(const YAML::Node& root, SampleFields fields) {
  const YAML::Node map = root["field_map"];
  for (const auto& [name, field] : std::visit([](auto& of) { return Named(of); }, fields)) {
    if (!map || !map.IsMap() || !map[std::string(name)]) {
      return Wrong("field_map", absl::StrCat("must name the member of ", name, ", as ",
                                             ClassOf(fields), " has it"));
    }
    *field = map[std::string(name)].as<std::string>();
    if (!MayIndex(name) && field->find('[') != std::string::npos) {
      return Wrong("field_map",
                   absl::StrCat("entry ", *field, " indexes into a member; name plain members"));
    }
  }
  return fields;
}

absl::StatusOr<SampleFields> ReadFields(const YAML::Node& root) {
  constexpr std::string_view kSupported =
      "supported is sample_type: {__module__: megatron.energon, __class__: CaptioningSample} with "
      "a field_map, likewise VQASample and TextSample, and __class__: CrudeWebdataset for "
      "conversations";
  if (!root.IsMap()) return Wrong("the file", absl::StrCat("is no map; ", kSupported));
  if (const YAML::Node loader = root["__class__"]; loader && loader.IsScalar()) {
    if (loader.Scalar() == ClassOf(ConversationFields())) return ConversationFields();
    return Wrong("__class__", absl::StrCat("is ", loader.Scalar(), "; ", kSupported,
                                           " and no other __class__ beside it"));
  }
  const YAML::Node type = root["sample_type"];
  if (!type) return Wrong("sample_type", absl::StrCat("is not set; ", kSupported));
  if (!type.IsMap() || !type["__class__"]) {
    return Wrong("sample_type.__class__", absl::StrCat("is not set; ", kSupported));
  }
  if (root["sample_loader"] || root["part_filter"]) {
    return Wrong("sample_loader", "is Python code; name the members in field_map instead");
  }
  const std::string name = type["__class__"].as<std::string>();
  for (const SampleFields& fields : {SampleFields(CaptioningFields()),
                                     SampleFields(QuestionFields()), SampleFields(TextFields())}) {
    if (name == ClassOf(fields)) return ReadFieldMap(root, fields);
  }
  return Wrong("sample_type.__class__", absl::StrCat("is ", name, "; ", kSupported));
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

std::string_view ClassOf(const SampleFields& fields) { return kClasses[fields.index()]; }

absl::StatusOr<SampleFields> ParseSampleFields(std::string_view yaml) {
  return WithYaml<SampleFields>(yaml, kSampleFile, ReadFields);
}

std::string FormatSampleFields(const SampleFields& fields) {
  return Emit([&](YAML::Emitter& out) {
    const auto write_class = [&] {
      out << YAML::Key << "__module__" << YAML::Value << std::string(kModule) << YAML::Key
          << "__class__" << YAML::Value << std::string(ClassOf(fields));
    };
    out << YAML::BeginMap;
    if (std::holds_alternative<ConversationFields>(fields)) {
      write_class();
    } else {
      out << YAML::Key << "sample_type" << YAML::Value << YAML::BeginMap;
      write_class();
      out << YAML::EndMap << YAML::Key << "field_map" << YAML::Value << YAML::BeginMap;
      SampleFields copy = fields;
      for (const auto& [name, field] : std::visit([](auto& of) { return Named(of); }, copy)) {
        out << YAML::Key << std::string(name) << YAML::Value << *field;
      }
      out << YAML::EndMap;
    }
    out << YAML::EndMap;
  });
}

}  // namespace hetero::data
