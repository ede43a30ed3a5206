#include "hetero/data/webdataset/excluded_samples.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {

absl::StatusOr<std::vector<Exclusion>> FindExclusions(
    const std::filesystem::path& root, const SplitConfig& config, const DatasetInfo& info,
    absl::FunctionRef<bool(const std::string& shard)> is_wanted) {
  const std::unordered_map<std::string, int64_t> counts(info.shard_counts.begin(),
                                                        info.shard_counts.end());
  std::unique_ptr<SampleIndex> index;
  std::vector<Exclusion> exclusions;
  for (const std::string& pattern : config.exclude) {
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> entries, ExpandBraces(pattern));
    for (const std::string& entry : entries) {
      // A key may hold slashes; the shard is the shortest prefix that names one.
      size_t end = entry.find('/');
      while (end != std::string::npos && !counts.contains(entry.substr(0, end))) {
        end = entry.find('/', end + 1);
      }
      const std::string shard = entry.substr(0, end);
      if (!counts.contains(shard)) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "%s excludes \"%s\", which names no shard of the data set", kSplitFile, entry));
      }
      if (!is_wanted(shard)) continue;
      if (end == std::string::npos) {
        exclusions.push_back({.shard = shard, .sample = std::nullopt});
        continue;
      }
      if (index == nullptr) {
        HETERO_ASSIGN_OR_RETURN(index, SampleIndex::Open(root / kMetadataFolder / kIndexFile));
      }
      HETERO_ASSIGN_OR_RETURN(const std::optional<SampleIndex::Location> location,
                              index->Find(std::string_view(entry).substr(end + 1)));
      const bool fits = location.has_value() && location->sample_index >= 0 &&
                        location->sample_index < counts.at(shard) && location->shard_id >= 0 &&
                        location->shard_id < static_cast<int64_t>(info.shard_counts.size()) &&
                        info.shard_counts[location->shard_id].first == shard;
      if (!fits) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "%s excludes \"%s\", but %s knows no such sample", kSplitFile, entry, kIndexFile));
      }
      exclusions.push_back({.shard = shard, .sample = location->sample_index});
    }
  }
  return exclusions;
}

}  // namespace hetero::data
