#include "hetero/data/energon/metadataset.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "yaml-cpp/yaml.h"

namespace hetero::data {
namespace {

constexpr std::string_view kModule = "megatron.energon";
constexpr std::string_view kClass = "MetadatasetV2";

// Of YAML nodes, as messages show them.
std::string ValueOf(const YAML::Node& node) {
  if (!node) return "not set";
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return absl::StrCat("\"", node.Scalar(), "\"");
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a map";
    default:
      return "null";
  }
}

absl::Status Wrong(std::string_view field, const YAML::Node& node, std::string_view accepted) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %s; %s is accepted", field, ValueOf(node), accepted));
}

// Whether the scalar stands without quotes, so that it may be a number.
bool IsPlain(const YAML::Node& node) { return node.IsScalar() && node.Tag() != "!"; }

bool IsText(const YAML::Node& node, std::string_view text) {
  return node && node.IsScalar() && node.Scalar() == text;
}

bool IsUnset(const YAML::Node& node) { return !node || node.IsNull(); }

absl::Status CheckMap(const YAML::Node& node, std::string_view field,
                      std::span<const std::string_view> fields) {
  const std::string accepted = absl::StrCat("a map with ", absl::StrJoin(fields, ", "));
  if (!node.IsMap()) return Wrong(field, node, accepted);
  absl::flat_hash_set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Wrong(field, entry.first, accepted);
    const std::string& name = entry.first.Scalar();
    if (std::find(fields.begin(), fields.end(), name) == fields.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s.%s is not known; %s is accepted", field, name, accepted));
    }
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s.%s is set twice; once is accepted", field, name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> ReadText(const YAML::Node& map, std::string_view field,
                                                    const char* name) {
  const YAML::Node node = map[name];
  if (IsUnset(node)) return std::nullopt;
  if (!node.IsScalar() || node.Scalar().empty()) {
    return Wrong(absl::StrCat(field, ".", name), node, "a name");
  }
  return node.Scalar();
}

absl::StatusOr<double> ReadShare(const YAML::Node& map, std::string_view field, const char* name) {
  const YAML::Node node = map[name];
  if (!node) return 1;
  double share = 0;
  if (!IsPlain(node) || !absl::SimpleAtod(node.Scalar(), &share) || !(share > 0) ||
      !std::isfinite(share)) {
    return Wrong(absl::StrCat(field, ".", name), node, "a positive number");
  }
  return share;
}

absl::StatusOr<std::optional<int64_t>> ReadMultiplier(const YAML::Node& map,
                                                      std::string_view field) {
  constexpr const char* kName = "shuffle_over_epochs_multiplier";
  constexpr int64_t kMost = 1 << 20;
  const YAML::Node node = map[kName];
  if (!node) return 1;
  if (node.IsNull()) return std::nullopt;
  int64_t value = 0;
  if (!IsPlain(node) || !absl::SimpleAtoi(node.Scalar(), &value) || value < -1 || value == 0 ||
      value > kMost) {
    return Wrong(absl::StrCat(field, ".", kName), node,
                 "null, -1 (with replacement) or a number of epochs from 1");
  }
  return value;
}

// A border of a range: "20%" as a share, or a number of samples.
struct Border {
  std::optional<double> share;
  int64_t sample = 0;
};

absl::StatusOr<Border> ReadBorder(const YAML::Node& node, std::string_view field) {
  constexpr std::string_view kAccepted = "a number of samples or a percentage, \"0%\" to \"100%\",";
  if (!node.IsScalar()) return Wrong(field, node, kAccepted);
  std::string_view text = absl::StripAsciiWhitespace(node.Scalar());
  Border border;
  if (absl::ConsumeSuffix(&text, "%")) {
    double percent = 0;
    if (!absl::SimpleAtod(text, &percent) || !(percent >= 0 && percent <= 100)) {
      return Wrong(field, node, kAccepted);
    }
    border.share = percent / 100;
    return border;
  }
  if (!IsPlain(node) || !absl::SimpleAtoi(text, &border.sample) || border.sample < 0) {
    return Wrong(field, node, kAccepted);
  }
  return border;
}

absl::StatusOr<std::optional<Subset>> ReadSubset(const YAML::Node& map, std::string_view parent) {
  const YAML::Node node = map["subset"];
  if (IsUnset(node)) return std::nullopt;
  const std::string field = absl::StrCat(parent, ".subset");
  constexpr std::string_view kFields[] = {"range"};
  HETERO_RETURN_IF_ERROR(CheckMap(node, field, kFields));
  const YAML::Node range = node["range"];
  if (!range || !range.IsSequence() || range.size() != 2) {
    return Wrong(absl::StrCat(field, ".range"), range, "a list of begin and end");
  }
  HETERO_ASSIGN_OR_RETURN(const Border begin,
                          ReadBorder(range[0], absl::StrCat(field, ".range[0]")));
  const std::string end_field = absl::StrCat(field, ".range[1]");
  if (!begin.share.has_value() && range[1].IsScalar() &&
      absl::StripAsciiWhitespace(range[1].Scalar()) == "end") {
    return Subset{.samples = Subset::Samples{.begin = begin.sample, .end = std::nullopt}};
  }
  HETERO_ASSIGN_OR_RETURN(const Border end, ReadBorder(range[1], end_field));
  if (begin.share.has_value() != end.share.has_value()) {
    return Wrong(end_field, range[1],
                 begin.share.has_value() ? "a percentage, as the begin is one,"
                                         : "a number of samples or \"end\", as the begin is one,");
  }
  const bool is_ordered =
      begin.share.has_value() ? *begin.share <= *end.share : begin.sample <= end.sample;
  if (!is_ordered) return Wrong(end_field, range[1], "an end that is not before the begin");
  if (begin.share.has_value()) return Subset{.begin = *begin.share, .end = *end.share};
  return Subset{.samples = Subset::Samples{.begin = begin.sample, .end = end.sample}};
}

absl::StatusOr<std::map<std::string, std::string>> ReadSubflavors(const YAML::Node& map,
                                                                  std::string_view parent) {
  std::map<std::string, std::string> flavors;
  const YAML::Node node = map["subflavors"];
  if (IsUnset(node)) return flavors;
  const std::string field = absl::StrCat(parent, ".subflavors");
  if (!node.IsMap()) return Wrong(field, node, "a map from names to values");
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Wrong(field, entry.first, "a map from names to values");
    const std::string& name = entry.first.Scalar();
    if (!entry.second.IsScalar()) {
      return Wrong(absl::StrCat(field, ".", name), entry.second, "a text, number or truth value");
    }
    flavors[name] = entry.second.Scalar();
  }
  return flavors;
}

// Whether `path` names a place by a scheme, as "s3://bucket" does.
bool HasScheme(std::string_view path) { return absl::StrContains(path, "://"); }

absl::StatusOr<std::map<std::string, MediaReference>> ReadAuxiliary(const YAML::Node& map,
                                                                    std::string_view parent) {
  std::map<std::string, MediaReference> aux;
  const YAML::Node node = map["aux"];
  if (IsUnset(node)) return aux;
  const std::string field = absl::StrCat(parent, ".aux");
  if (!node.IsMap()) return Wrong(field, node, "a map from names to paths");
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Wrong(field, entry.first, "a map from names to paths");
    const std::string name = absl::StrCat(field, ".", entry.first.Scalar());
    absl::StatusOr<MediaReference> reference =
        ParseMediaReference(entry.second.IsScalar() ? entry.second.Scalar() : std::string());
    if (!reference.ok()) {
      return Wrong(name, entry.second, "a path, or \"filesystem://\" and one,");
    }
    aux[entry.first.Scalar()] = *std::move(reference);
  }
  return aux;
}

// `share_name`: weight or repetitions; nullptr where a split is one data set.
absl::StatusOr<DatasetReference> ReadReference(const YAML::Node& node, std::string_view field,
                                               const char* share_name) {
  if (node.IsMap() && node["join"]) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".join is set; joins are not read, one data set by its path is"));
  }
  for (const char* blend : {"blend", "blend_epochized"}) {
    if (node.IsMap() && node[blend]) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s.%s is set; a blend within a blend is accepted as a file of its own, named by path",
          field, blend));
    }
  }
  std::vector<std::string_view> fields = {
      "path",   "split_part",     "subflavors",   "shuffle_over_epochs_multiplier",
      "subset", "dataset_config", "split_config", "aux"};
  if (share_name != nullptr) fields.push_back(share_name);
  HETERO_RETURN_IF_ERROR(CheckMap(node, field, fields));
  DatasetReference reference = {.field = std::string(field)};
  HETERO_ASSIGN_OR_RETURN(const std::optional<std::string> path, ReadText(node, field, "path"));
  if (!path.has_value() || HasScheme(*path)) {
    return Wrong(absl::StrCat(field, ".path"), node["path"],
                 "the path of a prepared data set or of a metadataset");
  }
  reference.path = *path;
  HETERO_ASSIGN_OR_RETURN(reference.split_part, ReadText(node, field, "split_part"));
  HETERO_ASSIGN_OR_RETURN(reference.subflavors, ReadSubflavors(node, field));
  HETERO_ASSIGN_OR_RETURN(reference.shuffle_over_epochs_multiplier, ReadMultiplier(node, field));
  HETERO_ASSIGN_OR_RETURN(reference.subset, ReadSubset(node, field));
  HETERO_ASSIGN_OR_RETURN(reference.dataset_config, ReadText(node, field, "dataset_config"));
  HETERO_ASSIGN_OR_RETURN(reference.split_config, ReadText(node, field, "split_config"));
  HETERO_ASSIGN_OR_RETURN(reference.aux, ReadAuxiliary(node, field));
  if (share_name != nullptr) {
    HETERO_ASSIGN_OR_RETURN(reference.share, ReadShare(node, field, share_name));
  }
  return reference;
}

absl::StatusOr<MetadatasetSplit> ReadSplit(const YAML::Node& node, std::string_view field) {
  if (!node.IsMap()) {
    return Wrong(field, node, "a map with path, blend or blend_epochized");
  }
  MetadatasetSplit split;
  const bool has_weights = node["blend"].IsDefined();
  if (!has_weights && !node["blend_epochized"]) {
    HETERO_ASSIGN_OR_RETURN(DatasetReference reference, ReadReference(node, field, nullptr));
    split.entries.push_back(std::move(reference));
    return split;
  }
  split.mode = has_weights ? BlendMode::kWeights : BlendMode::kRepetitions;
  const char* const name = has_weights ? "blend" : "blend_epochized";
  const std::string_view fields[] = {name, "subset"};
  HETERO_RETURN_IF_ERROR(CheckMap(node, field, fields));
  HETERO_ASSIGN_OR_RETURN(split.subset, ReadSubset(node, field));
  const std::string list = absl::StrCat(field, ".", name);
  const YAML::Node entries = node[name];
  if (!entries.IsSequence() || entries.size() == 0) {
    return Wrong(list, entries, "a list of one data set or more");
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(DatasetReference reference,
                            ReadReference(entries[i], absl::StrCat(list, "[", i, "]"),
                                          has_weights ? "weight" : "repetitions"));
    split.entries.push_back(std::move(reference));
  }
  return split;
}

absl::StatusOr<Metadataset> ReadMetadataset(const YAML::Node& root) {
  constexpr std::string_view kFields[] = {"__module__", "__class__", "splits"};
  if (!root.IsMap()) {
    return Wrong("the file", root, absl::StrCat("a map with ", absl::StrJoin(kFields, ", ")));
  }
  if (!IsText(root["__module__"], kModule)) return Wrong("__module__", root["__module__"], kModule);
  if (!IsText(root["__class__"], kClass)) return Wrong("__class__", root["__class__"], kClass);
  HETERO_RETURN_IF_ERROR(CheckMap(root, "the file", kFields));
  const YAML::Node splits = root["splits"];
  if (!splits || !splits.IsMap() || splits.size() == 0) {
    return Wrong("splits", splits, "a map from names of splits to data sets");
  }
  Metadataset metadataset;
  absl::flat_hash_set<std::string> seen;
  for (const auto& entry : splits) {
    if (!entry.first.IsScalar() || !seen.insert(entry.first.Scalar()).second) {
      return Wrong("a name in splits", entry.first, "a text, once");
    }
    const std::string& name = entry.first.Scalar();
    HETERO_ASSIGN_OR_RETURN(MetadatasetSplit split,
                            ReadSplit(entry.second, absl::StrCat("splits.", name)));
    metadataset.splits.emplace_back(name, std::move(split));
  }
  return metadataset;
}

}  // namespace

absl::StatusOr<Metadataset> ParseMetadataset(std::string_view yaml) {
  try {
    return ReadMetadataset(YAML::Load(std::string(yaml)));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("the file is no YAML: ", error.what()));
  }
}

}  // namespace hetero::data
