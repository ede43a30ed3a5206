#include "hetero/data/energon/open_blend.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/read_blend.h"
#include "hetero/data/webdataset/media_source.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare_command.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

// The one auxiliary source that conversations know.
constexpr std::string_view kMediaSource = "media_source";

absl::Status Refuse(std::string_view field, const BlendedFolder& folder, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrFormat("%s is set for data set %s, %s; remove it",
                                                    field, folder.folder.native(), why));
}

absl::Status CheckFolder(const BlendedFolder& folder) {
  if (folder.dataset_config.has_value()) {
    return Refuse("dataset_config", folder, "whose samples are read as dataset.yaml has them");
  }
  for (const auto& [name, reference] : folder.aux) {
    if (name == kMediaSource) continue;
    return Refuse(absl::StrCat("aux.", name), folder,
                  absl::StrCat("of whose sources aux.", kMediaSource, " alone is read"));
  }
  return absl::OkStatus();
}

// The data sets of a metadataset. A media source of several is opened once.
class DatasetOpener {
 public:
  DatasetOpener(const LongWork& work, bool with_headers)
      : work_(work), with_headers_(with_headers) {}

  absl::StatusOr<std::shared_ptr<const Dataset>> Open(const BlendedFolder& folder) {
    HETERO_RETURN_IF_ERROR(CheckFolder(folder));
    DatasetOptions options = {.with_headers = with_headers_};
    std::string media;
    if (const auto found = folder.aux.find(std::string(kMediaSource)); found != folder.aux.end()) {
      media = found->second.ToString();
      HETERO_ASSIGN_OR_RETURN(options.media, OpenMedia(found->second, folder));
    }
    absl::StatusOr<std::shared_ptr<const Dataset>> dataset =
        Dataset::Open(folder.folder, folder.split, work_, options);
    HETERO_RETURN_IF_ERROR(WithPrepareCommand(dataset.status(), folder.folder, media));
    if (options.media != nullptr &&
        !std::holds_alternative<ConversationFields>((*dataset)->fields())) {
      return Refuse(absl::StrCat("aux.", kMediaSource), folder,
                    "whose samples hold all that is read of them");
    }
    return dataset;
  }

 private:
  absl::StatusOr<std::shared_ptr<const MediaSource>> OpenMedia(const MediaReference& reference,
                                                               const BlendedFolder& folder) {
    std::shared_ptr<const MediaSource>& media = media_[reference.ToString()];
    if (media != nullptr) return media;
    absl::StatusOr<std::shared_ptr<const MediaSource>> opened = OpenMediaSource(reference, work_);
    HETERO_RETURN_IF_ERROR(opened.status())
        .With(absl::StrFormat("data set %s, aux.%s", folder.folder.native(), kMediaSource));
    media = *std::move(opened);
    return media;
  }

  const LongWork& work_;
  bool with_headers_;
  std::map<std::string, std::shared_ptr<const MediaSource>> media_;
};

}  // namespace

absl::StatusOr<BlendedDataset> BlendedDataset::Make(std::shared_ptr<const Dataset> dataset,
                                                    const SplitSamples& split) {
  BlendedDataset part(std::move(dataset));
  part.borders_ = split.shard_borders;
  // The split passes over shards that are excluded whole, the data set over their samples.
  const std::vector<Dataset::ShardSamples> shards = part.dataset_->Shards();
  auto shard = shards.begin();
  for (size_t s = 0; s < split.shards.size(); ++s) {
    shard = std::find_if(shard, shards.end(), [&](const Dataset::ShardSamples& candidate) {
      return candidate.name == split.shards[s];
    });
    const int64_t count = split.shard_borders[s + 1] - split.shard_borders[s];
    if (shard == shards.end() || shard->positions.count != count) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "data set %s has no shard %s of %d samples in its split.yaml, which alone is read; "
          "remove split_config",
          part.dataset_->root().native(), split.shards[s], count));
    }
    part.positions_.push_back(shard->positions.first);
    ++shard;
  }
  const int64_t begin = part.IndexAt(split.range().first);
  const int64_t end = part.IndexAt(split.range().end());
  if (begin == end) {
    return absl::FailedPreconditionError(
        absl::StrFormat("of data set %s no sample is read: all of [%d, %d) are excluded",
                        part.dataset_->root().native(), split.range().first, split.range().end()));
  }
  part.samples_ = {.first = begin, .count = end - begin};
  return part;
}

int64_t BlendedDataset::IndexAt(int64_t place) const {
  if (place == borders_.back()) return dataset_->size();
  const auto after = std::ranges::upper_bound(borders_, place);
  const auto shard = static_cast<size_t>(after - borders_.begin()) - 1;
  return dataset_->IndexAt(positions_[shard] + place - borders_[shard]);
}

OpenedBlend::PartSample OpenedBlend::Find(int64_t index) const {
  const auto after = std::ranges::upper_bound(begins, index);
  const auto part = static_cast<size_t>(after - begins.begin()) - 1;
  return {.part = part, .number = parts[part].samples().first + index - begins[part]};
}

absl::StatusOr<std::vector<int64_t>> OpenedBlend::FindNamed(
    const fs::path& folder, std::string_view list, std::span<const std::string> names) const {
  std::set<int64_t> found;
  for (size_t k = 0; k < parts.size(); ++k) {
    if (fs::weakly_canonical(parts[k].dataset()->root()) != folder) continue;
    HETERO_ASSIGN_OR_RETURN(const std::vector<int64_t> numbers,
                            parts[k].dataset()->Find(list, names));
    const IndexRange samples = parts[k].samples();
    for (const int64_t number : numbers) {
      if (number < samples.first || number >= samples.end()) continue;
      found.insert(begins[k] + number - samples.first);
    }
  }
  return std::vector<int64_t>(found.begin(), found.end());
}

absl::StatusOr<std::shared_ptr<const OpenedBlend>> OpenBlend(const fs::path& path,
                                                             std::string_view split,
                                                             const LongWork& work,
                                                             bool with_headers) {
  std::error_code error;
  const BlendRequest request = {.split = std::string(split)};
  const bool is_file = fs::is_regular_file(path, error);
  BlendedFolders blend;
  if (is_file) {
    HETERO_ASSIGN_OR_RETURN(blend, ReadBlend(path, request));
  } else {
    blend.folders = {{.folder = path, .split = request.split}};
  }
  std::vector<std::shared_ptr<const Dataset>> datasets;
  DatasetOpener opener(work, with_headers);
  for (const BlendedFolder& folder : blend.folders) {
    HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const Dataset> dataset, opener.Open(folder));
    datasets.push_back(std::move(dataset));
  }
  // A folder is asked what it is by the data set, whose messages say how to make it one.
  if (!is_file) {
    HETERO_ASSIGN_OR_RETURN(blend, ReadBlend(path, request));
  }
  auto opened = std::make_shared<OpenedBlend>();
  int64_t size = 0;
  for (size_t i = 0; i < datasets.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(BlendedDataset part,
                            BlendedDataset::Make(std::move(datasets[i]), blend.splits[i].samples));
    opened->begins.push_back(size);
    size += part.samples().count;
    opened->parts.push_back(std::move(part));
  }
  opened->splits = std::move(blend.splits);
  opened->mode = blend.mode;
  return opened;
}

}  // namespace hetero::data
