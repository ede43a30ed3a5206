#ifndef HETERO_CKPT_STORAGE_POSIX_STORAGE_H_
#define HETERO_CKPT_STORAGE_POSIX_STORAGE_H_

// Checkpoints in a mounted file system.
//
// Large transfers at multiples of kDirectAlignment bypass the page cache (O_DIRECT); where the file
// system refuses that, they go through it and one line of the log says so. What a call transfers
// short is continued. A read that the device fails (EIO) is tried once more, and the log says so.

#include <fcntl.h>
#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

namespace internal {

// The system calls that tests replace, to see what follows from each error.
struct PosixCalls {
  PosixCalls();

  std::function<int(const char* path, int flags, mode_t mode)> open;
  std::function<ssize_t(int descriptor, const void* bytes, size_t count, off_t offset)> pwrite;
  std::function<ssize_t(int descriptor, void* bytes, size_t count, off_t offset)> pread;
  std::function<int(int descriptor, off_t offset, off_t bytes)> fallocate;
  std::function<int(int descriptor)> fdatasync;
  std::function<int(const char* from, const char* to, unsigned flags)> renameat2;
  std::function<int(const char* from, const char* to)> link;

  // Whether the log has the line on O_DIRECT.
  mutable std::atomic<bool> told_of_no_direct_transfers = false;
};

}  // namespace internal

class PosixStorage : public Storage {
 public:
  PosixStorage() : PosixStorage(std::make_shared<internal::PosixCalls>()) {}
  explicit PosixStorage(std::shared_ptr<const internal::PosixCalls> calls)
      : calls_(std::move(calls)) {}

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

 private:
  std::shared_ptr<const internal::PosixCalls> calls_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_STORAGE_POSIX_STORAGE_H_
