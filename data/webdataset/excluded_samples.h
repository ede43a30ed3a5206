#ifndef HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_
#define HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_

// What lists of samples of a prepared data set name.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

// A sample of a shard, or the whole of it.
struct Exclusion {
  std::string shard;
  std::optional<int64_t> sample;
};

// The places of `names`, each a shard or "shard/key", that are of shards which `is_wanted`. Keys
// are looked up in the index of the data set at `root`. Errors: INVALID_ARGUMENT naming a name of
// no shard or sample, behind `list`, which is what names them: "split.yaml excludes"; those of the
// index.
absl::StatusOr<std::vector<Exclusion>> FindNamed(
    const std::filesystem::path& root, std::string_view list, std::span<const std::string> names,
    const DatasetInfo& info, absl::FunctionRef<bool(const std::string& shard)> is_wanted);

// Those of the entries of `config`. Errors: those of ExpandBraces and FindNamed.
absl::StatusOr<std::vector<Exclusion>> FindExclusions(
    const std::filesystem::path& root, const SplitConfig& config, const DatasetInfo& info,
    absl::FunctionRef<bool(const std::string& shard)> is_wanted);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_
