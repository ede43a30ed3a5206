#include "hetero/telemetry/async_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/base/thread.h"

namespace hetero {
namespace {

absl::Status WriteAll(int descriptor, std::string_view bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot write ", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AsyncFile>> AsyncFile::Create(const std::string& path,
                                                             std::string_view what) {
  std::string chosen = path;
  int descriptor = -1;
  for (int suffix = 1;; ++suffix) {
    descriptor = open(chosen.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor >= 0 || errno != EEXIST) break;
    chosen = absl::StrCat(path, ".", suffix);
  }
  if (descriptor < 0) {
    return SystemError(errno, absl::StrCat("cannot create ", what, " ", chosen));
  }
  std::unique_ptr<AsyncFile> file(new AsyncFile(std::move(chosen), what, descriptor));
  HETERO_ASSIGN_OR_RETURN(file->writer_,
                          StartThread(absl::StrCat("the ", what),
                                      [writing = file.get()] { writing->WriteUntilClosed(); }));
  return file;
}

AsyncFile::AsyncFile(std::string path, std::string_view what, int descriptor)
    : path_(std::move(path)), what_(what), descriptor_(descriptor) {}

AsyncFile::~AsyncFile() { Close().IgnoreError(); }

void AsyncFile::Append(std::string_view record) {
  absl::MutexLock lock(&mutex_);
  CHECK(!closing_) << "a record was added after Close of " << path_;
  if (!status_.ok() || static_cast<int64_t>(pending_.size() + record.size()) > kMaxPendingBytes) {
    ++num_dropped_;
    return;
  }
  pending_.append(record);
}

void AsyncFile::WriteUntilClosed() {
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
    absl::Status written = WriteAll(descriptor_, bytes, absl::StrCat(what_, " ", path_));
    mutex_.Lock();
    writing_ = false;
    status_.Update(std::move(written));
    if (!status_.ok()) pending_.clear();
  }
}

absl::Status AsyncFile::Flush() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &AsyncFile::Idle));
  if (status_.ok() && num_dropped_ > 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_dropped_, " events were dropped, as ", path_, " is written too slowly"));
  }
  return status_;
}

absl::Status AsyncFile::Close() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (writer_.joinable()) writer_.join();
  if (const int descriptor = std::exchange(descriptor_, -1);
      descriptor >= 0 && close(descriptor) != 0) {
    absl::MutexLock lock(&mutex_);
    status_.Update(SystemError(errno, absl::StrCat("cannot close ", what_, " ", path_)));
  }
  return Flush();
}

}  // namespace hetero
