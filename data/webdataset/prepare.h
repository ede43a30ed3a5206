#ifndef HETERO_DATA_WEBDATASET_PREPARE_H_
#define HETERO_DATA_WEBDATASET_PREPARE_H_

// Turns a folder of tar files into a data set that Dataset::Open and Megatron-Energon read.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/sample_check.h"

namespace hetero::data {

struct PrepareOptions {
  // Split names and the shards of each, as brace patterns relative to the folder.
  std::vector<std::pair<std::string, std::vector<std::string>>> splits;
  SampleFields fields;
  // What no split may use: "shard" or "shard/key", as brace patterns.
  std::vector<std::string> exclude = {};
  std::shared_ptr<const MediaSource> media = nullptr;  // where conversations find images
  LongWork work = {};  // only its stop is asked for, before every read and every image
};

// The splits, fields and exclude list of the data set at `root`, to prepare it again with.
// Errors: those of ReadMetadata.
absl::StatusOr<PrepareOptions> OptionsOfPrepared(const std::filesystem::path& root);

struct PrepareReport {
  int64_t num_shards = 0;
  int64_t num_samples = 0;  // excluded ones included

  std::vector<UnreadableSample> excluded;  // those that options.exclude names apart

  std::vector<std::string> warnings;  // what was passed over or dropped, oddities of shards
};

// Indexes every shard below `root`, decodes every image once and puts samples that fail on the
// exclude list. The metadata folder appears, or is replaced, as a whole at the end; what else it
// held is kept. The caller keeps other writers away. Errors: NOT_FOUND without shards,
// INVALID_ARGUMENT for a split that names no shard or an unknown one, DATA_LOSS for a damaged
// archive, a repeated key, or when no sample can be read, UNIMPLEMENTED for .tgz,
// those of `media`, CANCELLED when the user wants an end: the metadata folder is then as it was.
absl::StatusOr<PrepareReport> PrepareDataset(const std::filesystem::path& root,
                                             const PrepareOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_PREPARE_H_
