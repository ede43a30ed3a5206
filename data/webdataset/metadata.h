#ifndef HETERO_DATA_WEBDATASET_METADATA_H_
#define HETERO_DATA_WEBDATASET_METADATA_H_

// The text files of a Megatron-Energon data set's ".nv-meta" folder, as values. Parsers are pure
// functions of the bytes; errors name the place: DATA_LOSS in the list of shards, which only
// programs write, INVALID_ARGUMENT in the files that users edit.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

inline constexpr std::string_view kMetadataFolder = ".nv-meta";
inline constexpr std::string_view kInfoFile = ".info.json";
inline constexpr std::string_view kOldInfoFile = ".info.yaml";
inline constexpr std::string_view kSplitFile = "split.yaml";
inline constexpr std::string_view kSampleFile = "dataset.yaml";
inline constexpr std::string_view kIndexFile = "index.sqlite";
inline constexpr std::string_view kIndexIdFile = "index.uuid";

// ".info.json": the shards, in order; a shard's place is its id in the index.
struct DatasetInfo {
  std::string energon_version;
  std::vector<std::pair<std::string, int64_t>> shard_counts;
};

absl::StatusOr<DatasetInfo> ParseDatasetInfo(std::string_view json);
absl::StatusOr<DatasetInfo> ParseDatasetInfoYaml(std::string_view yaml);
std::string FormatDatasetInfo(const DatasetInfo& info);

// "split.yaml": the shards of each split as brace patterns, and what no split may use:
// "shard" or "shard/key".
struct SplitConfig {
  std::vector<std::pair<std::string, std::vector<std::string>>> parts;
  std::vector<std::string> exclude;
};

absl::StatusOr<SplitConfig> ParseSplitConfig(std::string_view yaml);
std::string FormatSplitConfig(const SplitConfig& config);

// "dataset.yaml" of a captioning data set: which members are image and caption. A field is a list
// of alternatives, "png,jpg"; the first member present is taken.
struct CaptioningFields {
  std::string image = "png,jpg,jpeg";
  std::string caption = "txt";

  bool operator==(const CaptioningFields&) const = default;
};

absl::StatusOr<CaptioningFields> ParseCaptioningFields(std::string_view yaml);
std::string FormatCaptioningFields(const CaptioningFields& fields);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_METADATA_H_
