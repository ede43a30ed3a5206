#ifndef HETERO_CKPT_STORAGE_STORAGE_H_
#define HETERO_CKPT_STORAGE_STORAGE_H_

// Where checkpoints lie: the few operations of a POSIX file system that they need, so that tests
// can let each one fail or lose power after it.
//
// What is durable follows POSIX. Bytes and size of a file outlive a loss of power once Sync() of it
// returned OK; a name that was made, renamed or removed, once SyncDirectory() of its folder did.
//
// Errors name the path and what the system said. Codes are those of SystemError: NOT_FOUND,
// ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED for a full disk, a quota or a device that
// fails (EIO), UNIMPLEMENTED or INVALID_ARGUMENT for what this file system cannot do.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero {

// Transfers whose offset, size and address in memory are multiples of it may go between memory and
// device without a copy in the page cache.
inline constexpr int64_t kDirectAlignment = 4096;

// A file that is being written. Destruction closes it and says nothing of success.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  // Makes the file `bytes` long and reserves that space where the file system can, so that a full
  // disk shows here and not in Write. Bytes not written yet read as 0.
  virtual absl::Status Allocate(int64_t bytes) = 0;

  // Writes all of `bytes` at `offset`; the file grows as needed. Several threads may write ranges
  // that do not overlap at once.
  virtual absl::Status Write(int64_t offset, std::span<const std::byte> bytes) = 0;

  // Makes bytes and size durable. After an error they never will be, whatever a later call says:
  // the system forgets what it could not write. So every later Sync() and Close() fails too.
  virtual absl::Status Sync() = 0;

  // Precondition: not closed. No other call may follow.
  virtual absl::Status Close() = 0;
};

// A file that can be read at any offset. Thread safe.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;

  // Bytes, as they were when the file was opened.
  virtual int64_t size() const = 0;

  // Fills `out` from `offset`. DATA_LOSS naming offset and sizes when the bytes end first.
  virtual absl::Status Read(int64_t offset, std::span<std::byte> out) const = 0;
};

enum class RenameMode {
  kReplace,    // as rename(2): what `to` named is gone
  kNoReplace,  // ALREADY_EXISTS when `to` names something
  kExchange,   // the two names change places at one instant; both must exist
};

enum class PathKind { kAbsent, kFile, kDirectory };

// Thread safe. Paths are absolute or relative to the working folder.
class Storage {
 public:
  virtual ~Storage() = default;

  // An empty file to be written, in the place of one that is there. The folder must exist.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::filesystem::path& path) = 0;

  // A file that Create made, for ranges that another rank writes: what it has stays. NOT_FOUND when
  // there is none.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWriting(
      const std::filesystem::path& path) = 0;

  // A file of that text, which appears whole or not at all; its bytes are durable. ALREADY_EXISTS
  // when something has the name: of many that try at once exactly one succeeds.
  virtual absl::Status CreateExclusive(const std::filesystem::path& path,
                                       std::string_view text) = 0;

  // NOT_FOUND, or INVALID_ARGUMENT for what is no regular file.
  virtual absl::StatusOr<std::unique_ptr<ReadableFile>> Open(const std::filesystem::path& path) = 0;

  // Renames a file or a folder within one file system. UNIMPLEMENTED when it has no such mode.
  virtual absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to,
                              RenameMode mode) = 0;

  // Gives the file `from` a second name in the same file system: neither is a copy. ALREADY_EXISTS
  // when `to` names something, UNIMPLEMENTED where files have one name.
  virtual absl::Status Link(const std::filesystem::path& from, const std::filesystem::path& to) = 0;

  // Makes the names in a folder durable as they are.
  virtual absl::Status SyncDirectory(const std::filesystem::path& path) = 0;

  // Names in a folder, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::filesystem::path& path) = 0;

  // A folder and those above it that are missing. OK when it is there.
  virtual absl::Status MakeDirectory(const std::filesystem::path& path) = 0;

  // A file or an empty folder. NOT_FOUND when there is none.
  virtual absl::Status Remove(const std::filesystem::path& path) = 0;

  // Bytes that an unprivileged writer may still add where `path`, which must exist, lies.
  virtual absl::StatusOr<int64_t> FreeBytes(const std::filesystem::path& path) = 0;

  // Follows symbolic links.
  virtual absl::StatusOr<PathKind> KindOf(const std::filesystem::path& path) = 0;

  // Both false when the kind cannot be told.
  bool Exists(const std::filesystem::path& path);
  bool IsDirectory(const std::filesystem::path& path);

  // A folder with all below it, file by file. OK when there is none. What can be removed is, also
  // after an error, which is the first.
  absl::Status RemoveTree(const std::filesystem::path& path);
};

// The whole file as text. `size_limit` bounds what a damaged size can make us allocate: DATA_LOSS.
absl::StatusOr<std::string> ReadText(Storage& storage, const std::filesystem::path& path,
                                     int64_t size_limit = int64_t{1} << 30);

// Writes a file of that text and makes its bytes, not its name, durable.
absl::Status WriteText(Storage& storage, const std::filesystem::path& path, std::string_view text);

// Puts a file of that text in the place of `path` at one instant, durably: a name beside it, Sync,
// rename, SyncDirectory.
absl::Status ReplaceText(Storage& storage, const std::filesystem::path& path,
                         std::string_view text);

// The bytes of a text.
inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace hetero

#endif  // HETERO_CKPT_STORAGE_STORAGE_H_
