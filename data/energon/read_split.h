#ifndef HETERO_DATA_ENERGON_READ_SPLIT_H_
#define HETERO_DATA_ENERGON_READ_SPLIT_H_

// A split of a prepared data set as its order needs it: from the ".nv-meta" folder alone, no shard
// is opened, whatever its samples hold.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/data/energon/loader_options.h"

namespace hetero::data {

// Shards that the split excludes do not count, samples that it excludes do. split_config: a file of
// ".nv-meta"; unset: split.yaml or, without one, split.json.
// Errors name the file and what to do: NOT_FOUND for a folder that is no prepared data set or an
// unknown split; INVALID_ARGUMENT for bad metadata; FAILED_PRECONDITION for a split without shards.
absl::StatusOr<SplitSamples> ReadSplitSamples(const std::filesystem::path& folder,
                                              std::string_view split,
                                              const std::optional<std::string>& split_config = {});

}  // namespace hetero::data

#endif  // HETERO_DATA_ENERGON_READ_SPLIT_H_
