#include "hetero/data/webdataset/check.h"

#include <memory>
#include <string_view>
#include <unordered_set>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/stoppable_file.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/index.h"
#include "hetero/data/tar/scanner.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata_folder.h"

namespace hetero::data {
namespace {

constexpr std::string_view kCheck = "the check of the data set";

absl::Status CheckIndex(const std::filesystem::path& path, std::string_view name,
                        int64_t num_samples, const LongWork& work) {
  HETERO_RETURN_IF_ERROR(CheckShard(path, name, num_samples));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, OpenFile(path));
  HETERO_ASSIGN_OR_RETURN(const ShardContents contents,
                          ScanShard(StoppableFile(*file, work, kCheck), name));
  HETERO_ASSIGN_OR_RETURN(const std::vector<uint64_t> index, ReadTarIndex(path));
  const std::vector<uint64_t> found = contents.Index();
  if (index == found) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "shard %s has %d samples in other places than the %d of its index %s: the index was made for "
      "another tar; prepare the data set again",
      name, found.size() - 1, index.size() - 1, TarIndexPath(path).native()));
}

}  // namespace

absl::StatusOr<CheckReport> CheckDataset(const std::filesystem::path& root, const LongWork& work,
                                         const MediaSource* media) {
  HETERO_ASSIGN_OR_RETURN(const Metadata metadata, ReadMetadata(root));
  CheckReport report;
  for (const auto& [name, num_samples] : metadata.info.shard_counts) {
    HETERO_RETURN_IF_ERROR(CheckIndex(root / name, name, num_samples, work));
    ++report.num_shards;
    report.num_samples += num_samples;
  }
  std::unordered_set<std::string> reported;  // splits may share shards
  RawSample sample;
  Image decoded;
  for (const auto& [split, patterns] : metadata.split.parts) {
    if (patterns.empty()) continue;
    HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> dataset,
                            Dataset::Open(root, split, work));
    report.splits.push_back(
        {.name = split, .num_samples = dataset->size(), .num_excluded = dataset->num_excluded()});
    for (int64_t i = 0; i < dataset->size(); ++i) {
      HETERO_RETURN_IF_ERROR(work.Continue(kCheck));
      HETERO_RETURN_IF_ERROR(dataset->Read(i, sample));
      const absl::Status status = CheckSample(sample, metadata.fields, media, decoded);
      if (!status.ok() && !absl::IsDataLoss(status)) return status;
      if (status.ok() || !reported.insert(sample.Name()).second) continue;
      report.unreadable.push_back(
          {.sample = sample.Name(), .reason = std::string(status.message())});
    }
  }
  return report;
}

}  // namespace hetero::data
