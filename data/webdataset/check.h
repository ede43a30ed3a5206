#ifndef HETERO_DATA_WEBDATASET_CHECK_H_
#define HETERO_DATA_WEBDATASET_CHECK_H_

// Reads a prepared data set as a run would, before a run does.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/sample_check.h"

namespace hetero::data {

struct CheckReport {
  int64_t num_shards = 0;
  int64_t num_samples = 0;  // excluded ones included

  struct Split {
    std::string name;
    int64_t num_samples = 0;  // excluded ones apart
    int64_t num_excluded = 0;
  };
  std::vector<Split> splits;

  // What no exclude list names and no run can use, each once.
  std::vector<UnreadableSample> unreadable;
};

// Compares every shard with its index and decodes every sample that a split gives to runs. Writes
// nothing. Errors: those of Dataset::Open, and DATA_LOSS for a damaged shard or one whose index was
// made for another tar; samples that cannot be used are no error but in the report.
// CANCELLED when the user wants an end; those of `media`, where conversations find images, unless
// it is nullptr.
absl::StatusOr<CheckReport> CheckDataset(const std::filesystem::path& root,
                                         const LongWork& work = {},
                                         const MediaSource* media = nullptr);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_CHECK_H_
