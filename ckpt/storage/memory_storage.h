#ifndef HETERO_CKPT_STORAGE_MEMORY_STORAGE_H_
#define HETERO_CKPT_STORAGE_MEMORY_STORAGE_H_

// A file system in memory, for tests.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

namespace internal {

// Files and folders by number. 0 is the root folder. What no name leads to is still there, as an
// open file is.
struct MemoryDisk {
  struct Node {
    bool is_directory = false;
    std::string bytes;                 // of a file
    std::map<std::string, int> names;  // of a folder
  };
  std::vector<Node> nodes = {{.is_directory = true}};
};

// One change of a disk. A file or folder is made without a name and linked afterwards.
struct DiskChange {
  enum class Kind {
    kNewFile,
    kNewDirectory,
    kResize,  // to `offset` bytes
    kWrite,   // `bytes` at `offset`
    kSync,    // a file's bytes, or a folder's names
    kLink,    // `name` in folder `node` is `target` from now on
    kUnlink,
    kRename,  // `name` in `node` to `new_name` in `target`
    kExchange,
  };
  Kind kind;
  int node = 0;
  int target = 0;
  std::string name = {};
  std::string new_name = {};
  int64_t offset = 0;
  std::string bytes = {};
};

// A change of a name that is not there does nothing.
void Apply(const DiskChange& change, MemoryDisk& disk);

}  // namespace internal

// Bytes are bounded by `capacity`; what is above fails as a full disk does.
class MemoryStorage : public Storage {
 public:
  MemoryStorage() = default;
  explicit MemoryStorage(internal::MemoryDisk disk) : disk_(std::move(disk)) {}

  void set_capacity(int64_t bytes);

  internal::MemoryDisk disk() const;

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::filesystem::path& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWriting(
      const std::filesystem::path& path) override;
  absl::Status CreateExclusive(const std::filesystem::path& path, std::string_view text) override;
  absl::StatusOr<std::unique_ptr<ReadableFile>> Open(const std::filesystem::path& path) override;
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to,
                      RenameMode mode) override;
  absl::Status Link(const std::filesystem::path& from, const std::filesystem::path& to) override;
  absl::Status SyncDirectory(const std::filesystem::path& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::filesystem::path& path) override;
  absl::Status MakeDirectory(const std::filesystem::path& path) override;
  absl::Status Remove(const std::filesystem::path& path) override;
  absl::StatusOr<int64_t> FreeBytes(const std::filesystem::path& path) override;
  absl::StatusOr<PathKind> KindOf(const std::filesystem::path& path) override;

 protected:
  // Called with every change, in order, under the lock.
  virtual void Record(const internal::DiskChange&) {}

 private:
  class File;
  struct Place {
    int folder;
    std::string name;
    int node;  // -1 when there is none of that name
  };

  absl::StatusOr<Place> Find(const std::filesystem::path& path) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Change(const internal::DiskChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int New(internal::DiskChange::Kind kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t BytesLeft() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status Grow(const std::filesystem::path& path, int node, int64_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  internal::MemoryDisk disk_ ABSL_GUARDED_BY(mutex_);
  int64_t capacity_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::max();
};

}  // namespace hetero

#endif  // HETERO_CKPT_STORAGE_MEMORY_STORAGE_H_
