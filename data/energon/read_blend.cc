#include "hetero/data/energon/read_blend.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/data/energon/metadataset.h"
#include "hetero/data/energon/read_split.h"
#include "hetero/data/energon/subset.h"
#include "hetero/data/file/file.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

// Files that refer to each other can come to more than anyone means.
constexpr size_t kMaxDataSets = 65536;

// What outer files say of all that an inner one has.
struct Outer {
  std::string split;
  std::optional<int64_t> shuffle_over_epochs;
  std::optional<Subset> subset;
  std::map<std::string, std::string> subflavors;
};

std::optional<int64_t> Product(std::optional<int64_t> a, std::optional<int64_t> b) {
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  if (*a == kWithReplacement || *b == kWithReplacement) return kWithReplacement;
  return *a * *b;
}

std::optional<Subset> Composed(const std::optional<Subset>& inner,
                               const std::optional<Subset>& outer) {
  if (!inner.has_value() || !outer.has_value()) return inner.has_value() ? inner : outer;
  return Compose(*inner, *outer);
}

class Resolver {
 public:
  // What `path` comes to, a file or a folder that `reference` names.
  absl::StatusOr<BlendedFolders> Read(const fs::path& path, const DatasetReference& reference,
                                      const Outer& outer);

 private:
  absl::StatusOr<BlendedFolders> ReadMetadataset(const fs::path& file, const Outer& outer);
  absl::StatusOr<BlendedFolders> ReadFolder(const fs::path& folder,
                                            const DatasetReference& reference,
                                            const fs::path& beside, const Outer& outer);
  absl::StatusOr<BlendedFolders> ReadSplit(const fs::path& file, const MetadatasetSplit& split,
                                           const Outer& outer);

  std::vector<fs::path> open_;  // files, each within the one before it
  size_t num_data_sets_ = 0;
};

absl::StatusOr<BlendedFolders> Resolver::Read(const fs::path& path,
                                              const DatasetReference& reference,
                                              const Outer& outer) {
  std::error_code error;
  Outer inner = {.split = reference.split_part.value_or(outer.split),
                 .shuffle_over_epochs =
                     Product(reference.shuffle_over_epochs_multiplier, outer.shuffle_over_epochs),
                 .subset = Composed(reference.subset, outer.subset),
                 .subflavors = outer.subflavors};
  inner.subflavors.insert(reference.subflavors.begin(), reference.subflavors.end());
  if (!fs::is_regular_file(path, error)) {
    return ReadFolder(path, reference, open_.empty() ? fs::path() : open_.back().parent_path(),
                      inner);
  }
  if (path.extension() != ".yaml") {
    return absl::InvalidArgumentError(absl::StrFormat(
        "path is the file \"%s\"; a metadataset, \".yaml\", or the folder of a prepared data set "
        "is accepted",
        path.native()));
  }
  const std::pair<std::string_view, bool> of_data_sets[] = {
      {"aux", !reference.aux.empty()},
      {"dataset_config", reference.dataset_config.has_value()},
      {"split_config", reference.split_config.has_value()},
      {"subset.range in samples", inner.subset.has_value() && inner.subset->samples.has_value()}};
  for (const auto& [field, is_set] : of_data_sets) {
    if (!is_set) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is set for the metadataset \"%s\"; it is accepted for a data set",
                        field, path.native()));
  }
  return ReadMetadataset(path, inner);
}

absl::StatusOr<BlendedFolders> Resolver::ReadMetadataset(const fs::path& file, const Outer& outer) {
  std::error_code error;
  const fs::path canonical = fs::canonical(file, error);
  if (error) return absl::NotFoundError(absl::StrCat("there is no file ", file.native()));
  if (std::find(open_.begin(), open_.end(), canonical) != open_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.native(), " refers to itself, by way of ", open_.back().native()));
  }
  const auto read = [&]() -> absl::StatusOr<BlendedFolders> {
    HETERO_ASSIGN_OR_RETURN(const std::string text, ReadFile(canonical));
    HETERO_ASSIGN_OR_RETURN(const Metadataset metadataset, ParseMetadataset(text));
    const auto split = std::find_if(metadataset.splits.begin(), metadataset.splits.end(),
                                    [&](const auto& entry) { return entry.first == outer.split; });
    if (split == metadataset.splits.end()) {
      const auto append = [](std::string* out, const auto& entry) { out->append(entry.first); };
      return absl::NotFoundError(absl::StrFormat("splits has no \"%s\"; it has %s", outer.split,
                                                 absl::StrJoin(metadataset.splits, ", ", append)));
    }
    open_.push_back(canonical);
    absl::StatusOr<BlendedFolders> folders = ReadSplit(canonical, split->second, outer);
    open_.pop_back();
    return folders;
  };
  absl::StatusOr<BlendedFolders> folders = read();
  HETERO_RETURN_IF_ERROR(folders.status()).With(file.native());
  return folders;
}

absl::StatusOr<BlendedFolders> Resolver::ReadSplit(const fs::path& file,
                                                   const MetadatasetSplit& split,
                                                   const Outer& outer) {
  if (split.subset.has_value() && split.subset->samples.has_value()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "splits.%s.subset.range is in samples; of a blend percentages are accepted", outer.split));
  }
  Outer inner = outer;
  inner.subset = Composed(split.subset, outer.subset);
  double sum = 0;
  for (const DatasetReference& entry : split.entries) sum += entry.share;

  BlendedFolders all = {.mode = split.mode};
  for (const DatasetReference& entry : split.entries) {
    absl::StatusOr<BlendedFolders> part = Read(file.parent_path() / entry.path, entry, inner);
    HETERO_RETURN_IF_ERROR(part.status()).With(entry.field);
    if (split.mode == BlendMode::kNone) return part;
    if (part->mode != BlendMode::kNone && part->mode != split.mode) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s.path is \"%s\", a blend by %s; within a blend by %s another of its kind is accepted",
          entry.field, entry.path, part->mode == BlendMode::kWeights ? "weights" : "repetitions",
          split.mode == BlendMode::kWeights ? "weights" : "repetitions"));
    }
    for (BlendedSplit& inner_split : part->splits) {
      inner_split.share = split.mode == BlendMode::kWeights ? inner_split.share * entry.share / sum
                                                            : entry.share * inner_split.share;
      all.splits.push_back(std::move(inner_split));
    }
    std::move(part->folders.begin(), part->folders.end(), std::back_inserter(all.folders));
  }
  return all;
}

absl::StatusOr<BlendedFolders> Resolver::ReadFolder(const fs::path& folder,
                                                    const DatasetReference& reference,
                                                    const fs::path& beside, const Outer& outer) {
  if (++num_data_sets_ > kMaxDataSets) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the files come to more than %d data sets", kMaxDataSets));
  }
  BlendedFolder blended = {.folder = folder,
                           .split = outer.split,
                           .dataset_config = reference.dataset_config,
                           .subflavors = outer.subflavors};
  for (const auto& [name, auxiliary] : reference.aux) {
    const fs::path path = (beside / auxiliary.path).lexically_normal();
    std::error_code error;
    if (!auxiliary.is_folder && !fs::is_regular_file(path / kMetadataFolder / kIndexFile, error)) {
      return absl::NotFoundError(
          absl::StrFormat("aux.%s is \"%s\", which has no %s/%s; a prepared data set is accepted",
                          name, auxiliary.path.native(), kMetadataFolder, kIndexFile));
    }
    blended.aux[name] = {.path = path, .is_folder = auxiliary.is_folder};
  }
  BlendedSplit split = {.shuffle_over_epochs = outer.shuffle_over_epochs};
  HETERO_ASSIGN_OR_RETURN(split.samples,
                          ReadSplitSamples(folder, outer.split, reference.split_config));
  if (outer.subset.has_value()) {
    HETERO_ASSIGN_OR_RETURN(split.samples.subset, Apply(*outer.subset, split.samples.size()));
  }
  return BlendedFolders{.folders = {std::move(blended)}, .splits = {std::move(split)}};
}

}  // namespace

absl::StatusOr<BlendedFolders> ReadBlend(const fs::path& path, const BlendRequest& request) {
  return Resolver().Read(
      path, DatasetReference(),
      {.split = request.split, .shuffle_over_epochs = request.shuffle_over_epochs});
}

}  // namespace hetero::data
