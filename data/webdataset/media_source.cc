#include "hetero/data/webdataset/media_source.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/metadata_folder.h"
#include "hetero/data/webdataset/sample_index.h"
#include "hetero/data/webdataset/shard_pool.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolderScheme = "filesystem://";

std::string Called(const MediaReference& reference) {
  return absl::StrCat("media source ", reference.ToString());
}

class FolderSource : public MediaSource {
 public:
  static absl::StatusOr<std::shared_ptr<const MediaSource>> Open(const MediaReference& reference) {
    if (std::error_code error; !fs::is_directory(reference.path, error)) {
      return absl::NotFoundError(absl::StrCat("there is no folder ", reference.path.native()));
    }
    return std::shared_ptr<const MediaSource>(new FolderSource(reference));
  }

  absl::StatusOr<bool> Read(std::string_view name, std::string& out) const override {
    const fs::path relative = fs::path(name).lexically_normal();
    const bool is_cut = name.find('\0') != name.npos;  // the system reads a name up to there
    if (is_cut || relative.is_absolute() || relative.empty() || *relative.begin() == "..") {
      return absl::DataLossError(absl::StrFormat("%s: the name \"%s\" is of no file in the folder",
                                                 Called(reference()), name));
    }
    absl::StatusOr<std::string> bytes = ReadFile(reference().path / relative);
    if (absl::IsNotFound(bytes.status())) return false;
    // It is no regular file, or too large for one.
    if (absl::IsInvalidArgument(bytes.status())) {
      return absl::DataLossError(absl::StrCat(Called(reference()), ": ", bytes.status().message()));
    }
    HETERO_RETURN_IF_ERROR(bytes.status()).With(Called(reference()));
    out = *std::move(bytes);
    return true;
  }

 private:
  explicit FolderSource(const MediaReference& reference) : MediaSource(reference) {}
};

class ShardsSource : public MediaSource {
 public:
  static absl::StatusOr<std::shared_ptr<const MediaSource>> Open(const MediaReference& reference,
                                                                 const LongWork& work) {
    const fs::path& root = reference.path;
    HETERO_ASSIGN_OR_RETURN(const DatasetInfo info, ReadDatasetInfo(root));
    for (const auto& [name, num_samples] : info.shard_counts) {
      HETERO_RETURN_IF_ERROR(work.Continue("the check of its shards"));
      HETERO_RETURN_IF_ERROR(CheckShard(root / name, name, num_samples));
    }
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SampleIndex> index,
                            SampleIndex::Open(root / kMetadataFolder / kIndexFile));
    return std::shared_ptr<const MediaSource>(
        new ShardsSource(reference, info.shard_counts, std::move(index)));
  }

  absl::StatusOr<bool> Read(std::string_view name, std::string& out) const override {
    absl::StatusOr<bool> found = Find(name, out);
    HETERO_RETURN_IF_ERROR(found.status()).With(Called(reference()));
    return found;
  }

 private:
  ShardsSource(const MediaReference& reference, const ShardPool::Shards& shards,
               std::unique_ptr<SampleIndex> index)
      : MediaSource(reference), shards_(reference.path, shards), index_(std::move(index)) {}

  absl::StatusOr<bool> Find(std::string_view name, std::string& out) const {
    const std::optional<MemberName> member = SplitMemberName(name);
    if (!member.has_value()) return false;
    HETERO_ASSIGN_OR_RETURN(const std::optional<SampleIndex::Location> at, Locate(member->base));
    if (!at.has_value()) return false;
    const ShardPool::Shards& shards = shards_.shards();
    const bool fits = at->shard_id >= 0 && at->shard_id < std::ssize(shards) &&
                      at->sample_index >= 0 && at->sample_index < shards[at->shard_id].second;
    if (!fits) {
      return absl::DataLossError(absl::StrFormat(
          "%s places \"%s\" in sample %d of shard %d, which %s does not have; prepare the data set "
          "again",
          kIndexFile, member->base, at->sample_index, at->shard_id, kInfoFile));
    }
    HETERO_ASSIGN_OR_RETURN(const std::shared_ptr<const TarShard> shard,
                            shards_.Open(static_cast<size_t>(at->shard_id)));
    return shard->ReadMember(at->sample_index, member->base, member->extension, out);
  }

  absl::StatusOr<std::optional<SampleIndex::Location>> Locate(std::string_view key) const {
    const absl::MutexLock lock(&mutex_);
    return index_->Find(key);
  }

  ShardPool shards_;
  mutable absl::Mutex mutex_;
  std::unique_ptr<SampleIndex> index_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace

std::string MediaReference::ToString() const {
  return absl::StrCat(is_folder ? kFolderScheme : "", path.native());
}

absl::StatusOr<MediaReference> ParseMediaReference(std::string_view text) {
  std::string_view path = text;
  const bool is_folder = absl::ConsumePrefix(&path, kFolderScheme);
  if (path.empty() || absl::StrContains(path, "://")) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "\"%s\" is no place of files; a prepared data set's path or \"%s\" and a folder's is", text,
        kFolderScheme));
  }
  return MediaReference{.path = fs::path(path), .is_folder = is_folder};
}

absl::StatusOr<std::shared_ptr<const MediaSource>> OpenMediaSource(const MediaReference& reference,
                                                                   const LongWork& work) {
  absl::StatusOr<std::shared_ptr<const MediaSource>> source =
      reference.is_folder ? FolderSource::Open(reference) : ShardsSource::Open(reference, work);
  HETERO_RETURN_IF_ERROR(source.status()).With(Called(reference));
  return source;
}

}  // namespace hetero::data
