#include "hetero/telemetry/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/base/thread.h"
#include "hetero/telemetry/event/event.pb.h"

namespace hetero {
namespace {

constexpr std::string_view kFileVersion = "brain.Event:2";

double Seconds(absl::Time time) { return absl::ToUnixMicros(time) / 1e6; }

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

void AppendLittleEndian(uint64_t value, int num_bytes, std::string& out) {
  for (int i = 0; i < num_bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

absl::Status WriteAll(int descriptor, std::string_view bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(written);
    } else if (errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot write event file ", path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

namespace internal {

uint32_t MaskedCrc32c(std::string_view bytes) {
  const auto crc = static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
  return std::rotr(crc, 15) + 0xa282ead8u;
}

void AppendTfRecord(std::string_view payload, std::string& out) {
  const size_t begin = out.size();
  AppendLittleEndian(payload.size(), 8, out);
  AppendLittleEndian(MaskedCrc32c(std::string_view(out).substr(begin)), 4, out);
  out.append(payload);
  AppendLittleEndian(MaskedCrc32c(payload), 4, out);
}

}  // namespace internal

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& directory,
                                                             absl::Time now) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return SystemError(error.value(), absl::StrCat("cannot create folder ", directory));
  }
  const std::string base = absl::StrCat(directory, "/events.out.tfevents.",
                                        absl::ToUnixSeconds(now), ".", HostName(), ".", getpid());
  std::string path = base;
  int descriptor = -1;
  for (int suffix = 1;; ++suffix) {
    descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor >= 0 || errno != EEXIST) break;
    path = absl::StrCat(base, ".", suffix);
  }
  if (descriptor < 0) {
    return SystemError(errno, absl::StrCat("cannot create event file ", path));
  }
  std::unique_ptr<EventFile> file(new EventFile(std::move(path), descriptor));
  HETERO_ASSIGN_OR_RETURN(file->writer_, StartThread("the event file", [writing = file.get()] {
                            writing->WriteUntilClosed();
                          }));
  TensorBoardEvent event;
  event.set_wall_time(Seconds(now));
  event.set_file_version(std::string(kFileVersion));
  file->Append(event.SerializeAsString());
  return file;
}

EventFile::EventFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

EventFile::~EventFile() { Close().IgnoreError(); }

void EventFile::AddScalars(int64_t step, absl::Time wall_time, std::span<const Scalar> scalars) {
  if (scalars.empty()) return;
  TensorBoardEvent event;
  event.set_wall_time(Seconds(wall_time));
  event.set_step(step);
  for (const Scalar& scalar : scalars) {
    TensorBoardSummary::Value& value = *event.mutable_summary()->add_value();
    value.set_tag(std::string(scalar.tag));
    value.set_simple_value(static_cast<float>(scalar.value));
  }
  Append(event.SerializeAsString());
}

void EventFile::Append(std::string_view payload) {
  absl::MutexLock lock(&mutex_);
  CHECK(!closing_) << "event added after Close of " << path_;
  if (!status_.ok() || static_cast<int64_t>(pending_.size() + payload.size()) > kMaxPendingBytes) {
    ++num_dropped_;
    return;
  }
  internal::AppendTfRecord(payload, pending_);
}

void EventFile::WriteUntilClosed() {
  std::string bytes;
  absl::MutexLock lock(&mutex_);
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !pending_.empty() || closing_;
  };
  while (true) {
    mutex_.Await(absl::Condition(&has_work));
    if (pending_.empty()) return;
    bytes.clear();
    bytes.swap(pending_);
    writing_ = true;
    mutex_.Unlock();
    absl::Status written = WriteAll(descriptor_, bytes, path_);
    mutex_.Lock();
    writing_ = false;
    status_.Update(std::move(written));
    if (!status_.ok()) pending_.clear();
  }
}

absl::Status EventFile::Flush() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &EventFile::Idle));
  if (status_.ok() && num_dropped_ > 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_dropped_, " events were dropped, as ", path_, " is written too slowly"));
  }
  return status_;
}

absl::Status EventFile::Close() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (writer_.joinable()) writer_.join();
  if (const int descriptor = std::exchange(descriptor_, -1);
      descriptor >= 0 && close(descriptor) != 0) {
    absl::MutexLock lock(&mutex_);
    status_.Update(SystemError(errno, absl::StrCat("cannot close event file ", path_)));
  }
  return Flush();
}

}  // namespace hetero
