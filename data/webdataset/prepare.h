#ifndef HETERO_DATA_WEBDATASET_PREPARE_H_
#define HETERO_DATA_WEBDATASET_PREPARE_H_

// Turns a folder of tar files into a data set that Dataset::Open and Megatron-Energon read.

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

struct PrepareOptions {
  // Split names and the shards of each, as brace patterns relative to the folder.
  std::vector<std::pair<std::string, std::vector<std::string>>> splits;
  CaptioningFields fields;
};

struct PrepareReport {
  int64_t num_shards = 0;
  int64_t num_samples = 0;  // excluded ones included

  struct Excluded {
    std::string sample;  // "shard/key"
    std::string reason;
  };
  std::vector<Excluded> excluded;

  std::vector<std::string> warnings;  // accepted oddities of shards
};

// Indexes every "**/*.tar" below `root` (hidden folders apart), decodes every image once and puts
// samples that fail on the exclude list. The metadata folder appears, or is replaced, as a whole at
// the end. The caller keeps other writers away.
// Errors: NOT_FOUND without shards, INVALID_ARGUMENT for a split that names no shard or an unknown
// one, DATA_LOSS for a damaged archive, ALREADY_EXISTS for a repeated key, UNIMPLEMENTED for .tgz.
absl::StatusOr<PrepareReport> PrepareDataset(const std::filesystem::path& root,
                                             const PrepareOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_PREPARE_H_
