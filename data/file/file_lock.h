#ifndef HETERO_DATA_FILE_FILE_LOCK_H_
#define HETERO_DATA_FILE_FILE_LOCK_H_

#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"
#include "hetero/data/file/long_work.h"

namespace hetero::data {

// An exclusive lock between processes, held until destruction or the end of the process. The lock
// file stays behind; while the lock is held, its text says by whom.
class FileLock {
 public:
  // Waits until the lock is free. While it waits it says for whom, at once and then every minute.
  // A file that may only be read, another user's, will do.
  // Errors: CANCELLED when the user wants an end; those of SystemError, naming the path.
  static absl::StatusOr<FileLock> Acquire(const std::filesystem::path& path,
                                          const LongWork& work = {});

  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_FILE_LOCK_H_
