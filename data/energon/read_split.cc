#include "hetero/data/energon/read_split.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/webdataset/excluded_samples.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/metadata_folder.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<SplitConfig> ReadSplitConfig(const fs::path& metadata,
                                            const std::optional<std::string>& name) {
  absl::StatusOr<std::string> text =
      ReadFile(metadata / (name.has_value() ? fs::path(*name) : fs::path(kSplitFile)));
  if (!name.has_value() && absl::IsNotFound(text.status())) {
    text = ReadFile(metadata / "split.json");
  }
  HETERO_RETURN_IF_ERROR(text.status());
  return ParseSplitConfig(*text);
}

absl::StatusOr<SplitSamples> Read(const fs::path& folder, std::string_view split,
                                  const std::optional<std::string>& split_config) {
  HETERO_ASSIGN_OR_RETURN(const DatasetInfo info, ReadDatasetInfo(folder));
  HETERO_ASSIGN_OR_RETURN(const SplitConfig config,
                          ReadSplitConfig(folder / kMetadataFolder, split_config));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, ShardsOf(config, split));
  const std::unordered_set<std::string> in_split(names.begin(), names.end());
  HETERO_ASSIGN_OR_RETURN(const std::vector<Exclusion> exclusions,
                          FindExclusions(folder, config, info, [&](const std::string& shard) {
                            return in_split.contains(shard);
                          }));
  std::unordered_set<std::string> excluded_shards;
  std::unordered_map<std::string, std::vector<int64_t>> excluded_samples;
  for (const auto& [shard, sample] : exclusions) {
    if (sample.has_value()) {
      excluded_samples[shard].push_back(*sample);
    } else {
      excluded_shards.insert(shard);
    }
  }

  const std::unordered_map<std::string, int64_t> counts(info.shard_counts.begin(),
                                                        info.shard_counts.end());
  SplitSamples samples = {.name = folder.native(), .shard_borders = {0}};
  for (const std::string& name : names) {
    const auto count = counts.find(name);
    if (count == counts.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s lists shard %s, which %s does not have; prepare the data set again",
                          kSplitFile, name, kInfoFile));
    }
    if (excluded_shards.contains(name)) continue;
    for (const int64_t sample : excluded_samples[name]) {
      samples.excluded.push_back(samples.size() + sample);
    }
    samples.shards.push_back(name);
    samples.shard_borders.push_back(samples.size() + count->second);
  }
  std::sort(samples.excluded.begin(), samples.excluded.end());
  samples.excluded.erase(std::unique(samples.excluded.begin(), samples.excluded.end()),
                         samples.excluded.end());
  if (samples.shards.empty()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the split has %d shards, all of them excluded", names.size()));
  }
  return samples;
}

}  // namespace

absl::StatusOr<SplitSamples> ReadSplitSamples(const fs::path& folder, std::string_view split,
                                              const std::optional<std::string>& split_config) {
  absl::StatusOr<SplitSamples> samples = Read(folder, split, split_config);
  HETERO_RETURN_IF_ERROR(samples.status())
      .With(absl::StrFormat("data set %s, split \"%s\"", folder.native(), split));
  return samples;
}

}  // namespace hetero::data
