#include "hetero/data/webdataset/excluded_samples.h"

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/webdataset/brace.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {

absl::StatusOr<std::vector<Exclusion>> FindNamed(
    const std::filesystem::path& root, std::string_view list, std::span<const std::string> names,
    const DatasetInfo& info, absl::FunctionRef<bool(const std::string& shard)> is_wanted) {
  const std::unordered_map<std::string, int64_t> counts(info.shard_counts.begin(),
                                                        info.shard_counts.end());
  std::unique_ptr<SampleIndex> index;
  std::vector<Exclusion> found;
  for (const std::string& name : names) {
    // A key may hold slashes; the shard is the shortest prefix that names one.
    size_t end = name.find('/');
    while (end != std::string::npos && !counts.contains(name.substr(0, end))) {
      end = name.find('/', end + 1);
    }
    const std::string shard = name.substr(0, end);
    if (!counts.contains(shard)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s \"%s\", which names no shard of the data set", list, name));
    }
    if (!is_wanted(shard)) continue;
    if (end == std::string::npos) {
      found.push_back({.shard = shard, .sample = std::nullopt});
      continue;
    }
    if (index == nullptr) {
      HETERO_ASSIGN_OR_RETURN(index, SampleIndex::Open(root / kMetadataFolder / kIndexFile));
    }
    HETERO_ASSIGN_OR_RETURN(const std::optional<SampleIndex::Location> location,
                            index->Find(std::string_view(name).substr(end + 1)));
    const bool fits = location.has_value() && location->sample_index >= 0 &&
                      location->sample_index < counts.at(shard) && location->shard_id >= 0 &&
                      location->shard_id < static_cast<int64_t>(info.shard_counts.size()) &&
                      info.shard_counts[location->shard_id].first == shard;
    if (!fits) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s \"%s\", but %s knows no such sample", list, name, kIndexFile));
    }
    found.push_back({.shard = shard, .sample = location->sample_index});
  }
  return found;
}

absl::StatusOr<std::vector<Exclusion>> FindExclusions(
    const std::filesystem::path& root, const SplitConfig& config, const DatasetInfo& info,
    absl::FunctionRef<bool(const std::string& shard)> is_wanted) {
  std::vector<std::string> names;
  for (const std::string& pattern : config.exclude) {
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> expanded, ExpandBraces(pattern));
    names.insert(names.end(), expanded.begin(), expanded.end());
  }
  return FindNamed(root, absl::StrCat(kSplitFile, " excludes"), names, info, is_wanted);
}

}  // namespace hetero::data
