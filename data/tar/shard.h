#ifndef HETERO_DATA_TAR_SHARD_H_
#define HETERO_DATA_TAR_SHARD_H_

// Random access to the samples of one indexed tar file.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"

namespace hetero::data {

// A sample's members as bytes. Reuse one object: its buffers keep their capacity.
struct RawSample {
  struct Part {
    std::string extension;
    std::string_view bytes;  // points into `buffer`
  };

  std::string shard;  // name as the data set lists it
  std::string key;    // base name of the members
  std::vector<Part> parts;
  std::string buffer;

  RawSample() = default;
  RawSample(RawSample&&) = delete;  // parts point into the buffer

  // The part with this extension, or nullptr.
  const Part* Find(std::string_view extension) const;

  // "shard/key", the name of a sample in exclude lists and messages.
  std::string Name() const;
};

// Groups the members that start at byte `base` of a shard and lie in `out.buffer`. Errors:
// DATA_LOSS naming shard, offset and member, also when the bytes are not exactly one sample.
absl::Status ParseSample(std::string_view shard, uint64_t base, RawSample& out);

// Immutable and thread safe.
class TarShard {
 public:
  // `name` is how messages call the shard. Errors: NOT_FOUND for a missing tar or index, DATA_LOSS
  // for a damaged index, a compressed tar, or one that does not end where its index does.
  static absl::StatusOr<std::unique_ptr<TarShard>> Open(const std::filesystem::path& path,
                                                        std::string_view name);

  // The same of a tar that is open and the offsets of its index. `path` is where messages say that
  // it lies. Errors: DATA_LOSS as Open. Precondition: at least one offset.
  static absl::StatusOr<std::unique_ptr<TarShard>> Create(std::unique_ptr<RandomAccessFile> tar,
                                                          std::vector<uint64_t> index,
                                                          const std::filesystem::path& path,
                                                          std::string_view name);

  const std::string& name() const { return name_; }
  int64_t num_samples() const { return static_cast<int64_t>(index_.size()) - 1; }

  // Reads sample `i` in [0, num_samples()) and checks its headers.
  absl::Status Read(int64_t i, RawSample& out) const;

  // Reads of that sample one member and the headers of the others; false when it has none with this
  // extension. Errors: as Read, and DATA_LOSS when the sample's key is another.
  absl::StatusOr<bool> ReadMember(int64_t i, std::string_view key, std::string_view extension,
                                  std::string& out) const;

 private:
  TarShard(std::string_view name, std::unique_ptr<RandomAccessFile> file,
           std::vector<uint64_t> index)
      : name_(name), file_(std::move(file)), index_(std::move(index)) {}

  // `status` of sample `i`; DATA_LOSS says where it lies.
  absl::Status AtSample(int64_t i, const absl::Status& status) const;

  std::string name_;
  std::unique_ptr<RandomAccessFile> file_;
  std::vector<uint64_t> index_;
};

// Checks a shard against its index without reading its samples: both files exist, the index has
// num_samples + 1 entries and the tar ends where the last one says. Errors as TarShard::Open.
absl::Status CheckShard(const std::filesystem::path& path, std::string_view name,
                        int64_t num_samples);

// The same of files that are open. Errors: DATA_LOSS.
absl::Status CheckShard(const RandomAccessFile& tar, const RandomAccessFile& index,
                        const std::filesystem::path& path, std::string_view name,
                        int64_t num_samples);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_SHARD_H_
