#ifndef HETERO_TELEMETRY_ASYNC_FILE_H_
#define HETERO_TELEMETRY_ASYNC_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace hetero {

// A file that grows by whole records. Thread-safe. Appending never waits for the disk: a thread of
// the file's own writes. Destruction writes what is pending but reports nothing; call Close to
// know.
class AsyncFile {
 public:
  // Creates the file, or with `path`.1, .2, ... if that name is taken. `what` names it in messages:
  // "event file".
  // Errors: those of the file system, naming the path; those of StartThread.
  static absl::StatusOr<std::unique_ptr<AsyncFile>> Create(const std::string& path,
                                                           std::string_view what);
  ~AsyncFile();

  AsyncFile(const AsyncFile&) = delete;
  AsyncFile& operator=(const AsyncFile&) = delete;

  // Never fails: after a write error, or while kMaxPendingBytes wait for a slow disk, the record is
  // dropped, which Flush and Close report. Precondition: Close has not been called.
  void Append(std::string_view record);

  // Waits until everything added so far has been handed to the operating system.
  // Errors: the first write error; RESOURCE_EXHAUSTED when records were dropped.
  absl::Status Flush();

  // Flush, then closes. Later calls return the first call's status.
  absl::Status Close();

  const std::string& path() const { return path_; }

  static constexpr int64_t kMaxPendingBytes = 64 << 20;

 private:
  AsyncFile(std::string path, std::string_view what, int descriptor);

  void WriteUntilClosed();
  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return pending_.empty() && !writing_; }

  const std::string path_;
  const std::string what_;
  int descriptor_;
  absl::Mutex mutex_;
  std::string pending_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t num_dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread writer_;
};

}  // namespace hetero

#endif  // HETERO_TELEMETRY_ASYNC_FILE_H_
