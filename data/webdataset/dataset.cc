#include "hetero/data/webdataset/dataset.h"

#include <algorithm>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/webdataset/excluded_samples.h"
#include "hetero/data/webdataset/metadata_folder.h"
#include "hetero/data/webdataset/sample_index.h"

namespace hetero::data {
namespace {

// 16 bytes a sample.
constexpr uint64_t kMaxHeadersBytes = uint64_t{1} << 36;

}  // namespace

absl::StatusOr<std::shared_ptr<const Dataset>> Dataset::Open(const std::filesystem::path& root,
                                                             std::string_view split,
                                                             const LongWork& work,
                                                             const DatasetOptions& options) {
  const std::string context = absl::StrFormat("data set %s, split \"%s\"", root.native(), split);
  const auto open = [&]() -> absl::StatusOr<std::shared_ptr<const Dataset>> {
    HETERO_ASSIGN_OR_RETURN(Metadata metadata, ReadMetadata(root));
    const DatasetInfo& info = metadata.info;
    std::shared_ptr<Dataset> dataset(new Dataset());
    dataset->root_ = root;
    dataset->fields_ = std::move(metadata.fields);
    dataset->media_ = options.media;

    const std::unordered_map<std::string, int64_t> counts(info.shard_counts.begin(),
                                                          info.shard_counts.end());
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, ShardsOf(metadata.split, split));
    int64_t position = 0;
    for (const std::string& name : names) {
      const auto count = counts.find(name);
      if (count == counts.end()) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s lists shard %s, which %s does not have; prepare the data set again",
                            kSplitFile, name, kInfoFile));
      }
      HETERO_RETURN_IF_ERROR(work.Continue("the check of its shards"));
      HETERO_RETURN_IF_ERROR(CheckShard(root / name, name, count->second));
      dataset->shards_.push_back(
          Shard{.name = name, .first = position, .num_samples = count->second});
      position += count->second;
    }
    HETERO_ASSIGN_OR_RETURN(
        const std::vector<Exclusion> excluded,
        FindExclusions(root, metadata.split, info,
                       [shards = dataset->ShardNames()](const std::string& name) {
                         return shards.contains(name);
                       }));
    dataset->excluded_ = dataset->PositionsOf(excluded);
    dataset->size_ = position - dataset->num_excluded();
    if (dataset->size_ == 0) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "the split has %d shards and %d samples, all of them excluded", names.size(), position));
    }
    ShardPool::Shards shards;
    for (const Shard& shard : dataset->shards_) shards.emplace_back(shard.name, shard.num_samples);
    dataset->pool_ = std::make_unique<const ShardPool>(root, std::move(shards));
    if (const auto* fields = std::get_if<CaptioningFields>(&dataset->fields_);
        options.with_headers && fields != nullptr) {
      HETERO_RETURN_IF_ERROR(dataset->ReadHeaders(split, *fields, work));
    }
    return dataset;
  };
  absl::StatusOr<std::shared_ptr<const Dataset>> dataset = open();
  HETERO_RETURN_IF_ERROR(dataset.status()).With(context);
  return dataset;
}

std::unordered_set<std::string_view> Dataset::ShardNames() const {
  std::unordered_set<std::string_view> names;
  for (const Shard& shard : shards_) names.insert(shard.name);
  return names;
}

std::vector<int64_t> Dataset::PositionsOf(std::span<const Exclusion> named) const {
  std::unordered_map<std::string, std::vector<const Shard*>> by_name;
  for (const Shard& shard : shards_) by_name[shard.name].push_back(&shard);
  std::vector<int64_t> positions;
  for (const auto& [name, sample] : named) {
    for (const Shard* shard : by_name.at(name)) {
      if (sample.has_value()) {
        positions.push_back(shard->first + *sample);
      } else {
        for (int64_t i = 0; i < shard->num_samples; ++i) positions.push_back(shard->first + i);
      }
    }
  }
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

std::string Dataset::PlaceOf(int64_t i) const {
  const int64_t position = Position(i);
  const Shard& shard = ShardAt(position);
  return absl::StrCat("sample ", position - shard.first, " of shard ", shard.name, " of data set ",
                      root_.native());
}

absl::StatusOr<std::string> Dataset::NameOf(int64_t i) const {
  const int64_t position = Position(i);
  const Shard& shard = ShardAt(position);
  HETERO_ASSIGN_OR_RETURN(const DatasetInfo info, ReadDatasetInfo(root_));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SampleIndex> index,
                          SampleIndex::Open(root_ / kMetadataFolder / kIndexFile));
  const auto place =
      std::ranges::find(info.shard_counts, shard.name, &std::pair<std::string, int64_t>::first);
  HETERO_ASSIGN_OR_RETURN(const std::string key,
                          index->KeyAt({.shard_id = place - info.shard_counts.begin(),
                                        .sample_index = position - shard.first}));
  return absl::StrCat(shard.name, "/", key);
}

absl::StatusOr<std::vector<int64_t>> Dataset::Find(std::string_view list,
                                                   std::span<const std::string> names) const {
  HETERO_ASSIGN_OR_RETURN(const DatasetInfo info, ReadDatasetInfo(root_));
  HETERO_ASSIGN_OR_RETURN(
      const std::vector<Exclusion> named,
      FindNamed(root_, list, names, info, [shards = ShardNames()](const std::string& name) {
        return shards.contains(name);
      }));
  std::vector<int64_t> samples;
  for (const int64_t position : PositionsOf(named)) {
    if (!std::ranges::binary_search(excluded_, position)) samples.push_back(IndexAt(position));
  }
  return samples;
}

std::vector<Dataset::ShardSamples> Dataset::Shards() const {
  std::vector<ShardSamples> shards;
  for (const Shard& shard : shards_) {
    shards.push_back(
        {.name = shard.name, .positions = {.first = shard.first, .count = shard.num_samples}});
  }
  return shards;
}

int64_t Dataset::IndexAt(int64_t position) const {
  return position -
         (std::lower_bound(excluded_.begin(), excluded_.end(), position) - excluded_.begin());
}

int64_t Dataset::Position(int64_t i) const {
  // excluded_[k] - k samples before it are kept: the first k where that exceeds i are skipped.
  int64_t low = 0;
  int64_t high = num_excluded();
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (excluded_[middle] - middle <= i) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return i + low;
}

absl::StatusOr<std::vector<SampleHeader>> Dataset::MakeHeaders(const CaptioningFields& fields,
                                                               const LongWork& work) const {
  const int64_t count = size_ + num_excluded();
  work.Say(absl::StrCat("reading the headers of ", count, " samples, once"));
  std::vector<SampleHeader> headers(count);
  RawSample sample;
  for (int64_t position = 0; position < count; ++position) {
    HETERO_RETURN_IF_ERROR(work.Continue("reading the headers of samples"));
    const absl::Status read = ReadAt(position, sample);
    if (read.ok()) {
      headers[position] = HeaderOf(sample, fields);
    } else if (!absl::IsDataLoss(read)) {
      return read;
    }
  }
  return headers;
}

absl::Status Dataset::ReadHeaders(std::string_view split, const CaptioningFields& fields,
                                  const LongWork& work) {
  const std::filesystem::path folder = root_ / kMetadataFolder;
  HeadersOrigin origin = {
      .index_id = ReadFile(folder / kIndexIdFile).value_or(""), .fields = fields, .shards = {}};
  for (const Shard& shard : shards_) origin.shards.emplace_back(shard.name, shard.num_samples);
  const std::filesystem::path path = HeadersFile(folder, split);
  if (const absl::StatusOr<std::string> bytes = ReadFile(path, kMaxHeadersBytes); bytes.ok()) {
    absl::StatusOr<std::vector<SampleHeader>> headers = ParseHeaders(*bytes, origin);
    if (headers.ok() && std::ssize(*headers) == size_ + num_excluded()) {
      headers_ = *std::move(headers);
      return absl::OkStatus();
    }
    work.Say(absl::StrCat(path.native(), " is made anew: ", headers.status().message()));
  }
  HETERO_ASSIGN_OR_RETURN(headers_, MakeHeaders(fields, work));
  if (const absl::Status kept = WriteFileAtomically(path, FormatHeaders(origin, headers_));
      !kept.ok()) {
    work.Say(absl::StrCat("every run will read them: ", kept.message()));
  }
  return absl::OkStatus();
}

absl::Status Dataset::Read(int64_t i, RawSample& out) const { return ReadAt(Position(i), out); }

const Dataset::Shard& Dataset::ShardAt(int64_t position) const {
  const auto after =
      std::upper_bound(shards_.begin(), shards_.end(), position,
                       [](int64_t value, const Shard& shard) { return value < shard.first; });
  return *(after - 1);
}

absl::Status Dataset::ReadAt(int64_t position, RawSample& out) const {
  const Shard& shard = ShardAt(position);
  HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const TarShard> tar,
                          pool_->Open(static_cast<size_t>(&shard - shards_.data())));
  return tar->Read(position - shard.first, out);
}

}  // namespace hetero::data
