#ifndef HETERO_DATA_WEBDATASET_MEDIA_SOURCE_H_
#define HETERO_DATA_WEBDATASET_MEDIA_SOURCE_H_

// Files beside a data set, by name: what Megatron-Energon calls an auxiliary source.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"

namespace hetero::data {

// Where the files are, as a metadataset's `aux` has it: "PATH" is a prepared data set, whose files
// are the members of all its shards, "filesystem://PATH" a folder.
struct MediaReference {
  std::filesystem::path path;
  bool is_folder = false;

  std::string ToString() const;
  bool operator==(const MediaReference&) const = default;
};

// Errors: INVALID_ARGUMENT for no path and for object stores, "msc://...".
absl::StatusOr<MediaReference> ParseMediaReference(std::string_view text);

// Thread safe.
class MediaSource {
 public:
  virtual ~MediaSource() = default;

  // Makes `out` the bytes of the file `name`: of a member with its key, "photos/17.jpg", or of a
  // file below the folder. False when there is none.
  // Errors name the source: those of TarShard::ReadMember, ShardPool and SampleIndex; DATA_LOSS for
  // an index of another data set, a name that leaves the folder or is none of a regular file; those
  // of reading files.
  virtual absl::StatusOr<bool> Read(std::string_view name, std::string& out) const = 0;

  // What `this` was opened with.
  const MediaReference& reference() const { return reference_; }

 protected:
  explicit MediaSource(MediaReference reference) : reference_(std::move(reference)) {}

 private:
  MediaReference reference_;
};

// Checks every shard of a data set against its index, reads no sample. Errors name the source:
// NOT_FOUND without a folder or data set there, those of Dataset::Open.
absl::StatusOr<std::shared_ptr<const MediaSource>> OpenMediaSource(const MediaReference& reference,
                                                                   const LongWork& work);

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_MEDIA_SOURCE_H_
