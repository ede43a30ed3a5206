#ifndef HETERO_TELEMETRY_SNAPSHOT_FILE_H_
#define HETERO_TELEMETRY_SNAPSHOT_FILE_H_

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace hetero {

// A small file that is replaced again and again and that a reader sees whole, the former or the
// latter. Thread-safe. Replacing never waits for the disk: a thread of the file's own writes, and
// what it has not come to when the next text is there is left out.
class SnapshotFile {
 public:
  // Errors: those of StartThread.
  static absl::StatusOr<std::unique_ptr<SnapshotFile>> Create(std::string path);
  // Writes the last text.
  ~SnapshotFile();

  void Replace(std::string text);

  // Waits for the last text to be written. Errors: the last that the file system had, naming the
  // path. Nothing is replaced afterwards.
  absl::Status Close();

  const std::string& path() const { return path_; }

 private:
  explicit SnapshotFile(std::string path) : path_(std::move(path)) {}

  void WriteUntilClosed();

  const std::string path_;
  absl::Mutex mutex_;
  std::optional<std::string> next_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread writer_;
};

}  // namespace hetero

#endif  // HETERO_TELEMETRY_SNAPSHOT_FILE_H_
