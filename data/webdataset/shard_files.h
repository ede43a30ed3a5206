#ifndef HETERO_DATA_WEBDATASET_SHARD_FILES_H_
#define HETERO_DATA_WEBDATASET_SHARD_FILES_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace hetero::data {

// The archives of a folder, as names relative to it, ordered by path components.
struct ShardFiles {
  std::vector<std::string> shards;      // "**/*.tar"
  std::vector<std::string> compressed;  // "**/*.tar.gz" and the like, which are not read
};

// Looks below `root`, hidden folders apart.
// Errors: NOT_FOUND without shards; UNIMPLEMENTED for a .tgz, which Megatron-Energon takes for a
// shard, with the command that unpacks it; those of listing a folder.
absl::StatusOr<ShardFiles> FindShards(const std::filesystem::path& root);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SHARD_FILES_H_
