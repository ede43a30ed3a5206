#include "hetero/telemetry/snapshot_file.h"

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/base/thread.h"

namespace hetero {
namespace {

absl::Status WriteWhole(const std::string& path, const std::string& text) {
  const std::string beside = absl::StrCat(path, ".part");
  errno = 0;
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file && std::rename(beside.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return SystemError(errno == 0 ? EIO : errno, absl::StrCat("cannot write ", path));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotFile>> SnapshotFile::Create(std::string path) {
  std::unique_ptr<SnapshotFile> file(new SnapshotFile(std::move(path)));
  HETERO_ASSIGN_OR_RETURN(file->writer_,
                          StartThread(absl::StrCat("the writer of ", file->path_),
                                      [writing = file.get()] { writing->WriteUntilClosed(); }));
  return file;
}

SnapshotFile::~SnapshotFile() { Close().IgnoreError(); }

void SnapshotFile::Replace(std::string text) {
  absl::MutexLock lock(&mutex_);
  if (!closing_) next_ = std::move(text);
}

absl::Status SnapshotFile::Close() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (writer_.joinable()) writer_.join();
  absl::MutexLock lock(&mutex_);
  return status_;
}

void SnapshotFile::WriteUntilClosed() {
  absl::MutexLock lock(&mutex_);
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return next_.has_value() || closing_;
  };
  while (true) {
    mutex_.Await(absl::Condition(&has_work));
    if (!next_.has_value()) return;
    const std::string text = *std::exchange(next_, std::nullopt);
    mutex_.Unlock();
    absl::Status written = WriteWhole(path_, text);
    mutex_.Lock();
    status_ = std::move(written);
  }
}

}  // namespace hetero
