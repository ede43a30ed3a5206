#ifndef HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_
#define HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_

// What the exclude list of a prepared data set names.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
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

// The entries of `config` that are of shards which `is_wanted`. Keys are looked up in the index of
// the data set at `root`. Errors: INVALID_ARGUMENT naming an entry that names no shard or sample;
// those of the index.
absl::StatusOr<std::vector<Exclusion>> FindExclusions(
    const std::filesystem::path& root, const SplitConfig& config, const DatasetInfo& info,
    absl::FunctionRef<bool(const std::string& shard)> is_wanted);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_EXCLUDED_SAMPLES_H_
