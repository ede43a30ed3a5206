#include "hetero/data/file/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero::data {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);
constexpr absl::Duration kMessageInterval = absl::Minutes(1);

std::string Self() {
  char host[256] = {};
  const bool known = gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0';
  return absl::StrCat("process ", getpid(), " on ", known ? host : "this host");
}

// What the holder wrote; nothing yet, between its locking and its writing.
std::string HolderIn(int descriptor) {
  char text[300];
  const ssize_t size = pread(descriptor, text, sizeof(text), 0);
  std::string holder(text, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  holder.resize(std::min(holder.find('\n'), holder.size()));
  std::erase_if(holder, [](char c) { return !absl::ascii_isprint(c); });
  return holder.empty() ? "another process" : holder;
}

absl::StatusOr<int> OpenLockFile(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor >= 0) return descriptor;
  const int error = errno;
  const int readable = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (readable >= 0) return readable;
  return SystemError(error, absl::StrCat("cannot open lock file ", path.native()));
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Acquire(const std::filesystem::path& path,
                                           const LongWork& work) {
  HETERO_ASSIGN_OR_RETURN(const int descriptor, OpenLockFile(path));
  FileLock lock(descriptor);
  absl::Time next_message = absl::InfinitePast();
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot lock ", path.native()));
    }
    HETERO_RETURN_IF_ERROR(work.Continue(absl::StrCat("waiting for ", path.native())));
    if (const absl::Time now = absl::Now(); now >= next_message) {
      work.Say(absl::StrCat("waiting for ", HolderIn(descriptor), ", which holds ", path.native()));
      next_message = now + kMessageInterval;
    }
    absl::SleepFor(kPollInterval);
  }
  // For those who wait only: without room for it the lock holds all the same.
  const std::string self = absl::StrCat(Self(), "\n");
  if (ftruncate(descriptor, 0) == 0) {
    static_cast<void>(pwrite(descriptor, self.data(), self.size(), 0) == 0);
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  static_cast<void>(ftruncate(descriptor_, 0) == 0);
  close(descriptor_);
}

}  // namespace hetero::data
