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
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/telemetry/async_file.h"

namespace hetero {

struct Scalar {
  std::string_view tag;
  double value = 0;  // stored as a float
};

// As AsyncFile.
class EventFile {
 public:
  // Creates `directory` if it is missing and in it the file
  // events.out.tfevents.<seconds>.<host>.<pid>, with .1, .2, ... appended if that name is taken.
  // `now` is the time of the name and of the first record.
  // Errors: those of the file system, naming the path; those of StartThread.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& directory,
                                                           absl::Time now = absl::Now());

  // One event with all `scalars`; none for an empty span. As AsyncFile::Append.
  void AddScalars(int64_t step, absl::Time wall_time, std::span<const Scalar> scalars);

  // As AsyncFile's.
  absl::Status Flush() { return file_->Flush(); }
  absl::Status Close() { return file_->Close(); }
  const std::string& path() const { return file_->path(); }

 private:
  explicit EventFile(std::unique_ptr<AsyncFile> file) : file_(std::move(file)) {}

  void Append(std::string_view payload);

  const std::unique_ptr<AsyncFile> file_;
};

namespace internal {

// Appends `payload` to `out` in a TFRecord frame.
void AppendTfRecord(std::string_view payload, std::string& out);

// The masked CRC-32C of a frame.
uint32_t MaskedCrc32c(std::string_view bytes);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TELEMETRY_EVENT_FILE_H_
