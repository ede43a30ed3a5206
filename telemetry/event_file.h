#ifndef HETERO_TELEMETRY_EVENT_FILE_H_
#define HETERO_TELEMETRY_EVENT_FILE_H_

// Writes scalars to a file that TensorBoard reads: TFRecord frames around serialized events.
// A frame is: length (8 bytes, little-endian), masked CRC-32C of those 8 bytes (4), payload,
// masked CRC-32C of the payload (4); masked(c) = rotate_right(c, 15) + 0xa282ead8 modulo 2^32.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace hetero {

struct Scalar {
  std::string_view tag;
  double value = 0;  // stored as a float
};

// Thread-safe. Adding never waits for the disk: a thread of the file's own writes. Destruction
// writes what is pending but reports nothing; call Close to know.
class EventFile {
 public:
  // Creates `directory` if it is missing and in it the file
  // events.out.tfevents.<seconds>.<host>.<pid>, with .1, .2, ... appended if that name is taken.
  // `now` is the time of the name and of the first record.
  // Errors: those of the file system, naming the path; those of StartThread.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& directory,
                                                           absl::Time now = absl::Now());

  ~EventFile();

  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Queues one event with all `scalars`; none for an empty span. Never fails: after a write error,
  // or while kMaxPendingBytes wait for a slow disk, the event is dropped, which Flush and Close
  // report. Precondition: Close has not been called.
  void AddScalars(int64_t step, absl::Time wall_time, std::span<const Scalar> scalars);

  // Waits until everything added so far has been handed to the operating system.
  // Errors: the first write error; RESOURCE_EXHAUSTED when events were dropped.
  absl::Status Flush();

  // Flush, then closes. Later calls return the first call's status.
  absl::Status Close();

  const std::string& path() const { return path_; }

  static constexpr int64_t kMaxPendingBytes = 64 << 20;

 private:
  EventFile(std::string path, int descriptor);

  void Append(std::string_view payload);
  void WriteUntilClosed();
  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return pending_.empty() && !writing_; }

  const std::string path_;
  int descriptor_;
  absl::Mutex mutex_;
  std::string pending_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t num_dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread writer_;
};

namespace internal {

// Appends `payload` to `out` in a TFRecord frame.
void AppendTfRecord(std::string_view payload, std::string& out);

// The masked CRC-32C of a frame.
uint32_t MaskedCrc32c(std::string_view bytes);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TELEMETRY_EVENT_FILE_H_
