#ifndef HETERO_DATA_WEBDATASET_METADATA_H_
#define HETERO_DATA_WEBDATASET_METADATA_H_

// The text files of a Megatron-Energon data set's ".nv-meta" folder, as values. Parsers are pure
// functions of the bytes; errors name the place: DATA_LOSS in the list of shards, which only
// programs write, INVALID_ARGUMENT in the files that users edit.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
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

// "dataset.yaml": what the samples are, and which members hold what. A field is a list of
// alternatives, "png,jpg"; the first member present is taken. Fields of text may name a place in a
// JSON member: "json[turns][0]".

// An image and what is written of it. Fields name whole members.
struct CaptioningFields {
  std::string image = "png,jpg,jpeg,webp";
  std::string caption = "txt";

  bool operator==(const CaptioningFields&) const = default;
};

// An image, a question and answers, of which a list may be given.
struct QuestionFields {
  std::string image;
  std::string context;
  std::string answers;

  bool operator==(const QuestionFields&) const = default;
};

struct TextFields {
  std::string text;

  bool operator==(const TextFields&) const = default;
};

// Untyped samples: a member "json" has the conversation and names the images' members.
struct ConversationFields {
  bool operator==(const ConversationFields&) const = default;
};

using SampleFields = std::variant<CaptioningFields, QuestionFields, TextFields, ConversationFields>;

// The name that dataset.yaml has for such samples.
std::string_view ClassOf(const SampleFields& fields);

absl::StatusOr<SampleFields> ParseSampleFields(std::string_view yaml);
std::string FormatSampleFields(const SampleFields& fields);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_METADATA_H_
