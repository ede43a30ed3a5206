#ifndef HETERO_DATA_WEBDATASET_METADATA_FOLDER_H_
#define HETERO_DATA_WEBDATASET_METADATA_FOLDER_H_

// The ".nv-meta" folder of a prepared data set, read as a whole.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

struct Metadata {
  DatasetInfo info;
  SplitConfig split;
  SampleFields fields;
};

// The list of shards. Errors: NOT_FOUND when `root` is no folder, or no prepared one, saying how to
// prepare it; those of its parser.
absl::StatusOr<DatasetInfo> ReadDatasetInfo(const std::filesystem::path& root);

// Errors: those of ReadDatasetInfo and of the files' parsers.
absl::StatusOr<Metadata> ReadMetadata(const std::filesystem::path& root);

// The shards of a split, its patterns expanded.
// Errors: NOT_FOUND for an unknown split, naming those there are; FAILED_PRECONDITION for one
// without shards.
absl::StatusOr<std::vector<std::string>> ShardsOf(const SplitConfig& config,
                                                  std::string_view split);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_METADATA_FOLDER_H_
