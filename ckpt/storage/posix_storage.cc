#include "hetero/ckpt/storage/posix_storage.h"

#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <system_error>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero {

namespace internal {

PosixCalls::PosixCalls()
    : open([](const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }),
      pwrite(::pwrite),
      pread(::pread),
      fallocate([](int descriptor, off_t offset, off_t bytes) {
        return ::fallocate(descriptor, 0, offset, bytes);
      }),
      fdatasync(::fdatasync),
      // Not ::renameat2: the C library has it only where it was built for such kernels.
      renameat2([](const char* from, const char* to, unsigned flags) {
        return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
      }),
      link(::link) {}

}  // namespace internal

namespace {

namespace fs = std::filesystem;

using ::hetero::internal::PosixCalls;

// A direct transfer waits for the device, so small ones are faster through the page cache.
constexpr int64_t kDirectMinimumBytes = 256 << 10;

// The system transfers at most 2 GiB less a page at once.
constexpr int64_t kTransferBytes = 1 << 30;

bool Aligned(int64_t number) { return number % kDirectAlignment == 0; }

// Bytes at the start of a transfer that may go directly.
int64_t DirectBytes(int64_t offset, const std::byte* memory, int64_t bytes) {
  if (!Aligned(offset) || !Aligned(reinterpret_cast<intptr_t>(memory))) return 0;
  return bytes < kDirectMinimumBytes ? 0 : bytes / kDirectAlignment * kDirectAlignment;
}

template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// A file's descriptors: one through the page cache and, once a transfer can use it, one past it.
class Descriptors {
 public:
  Descriptors(fs::path path, std::shared_ptr<const PosixCalls> calls, int descriptor, int flags)
      : path_(std::move(path)), calls_(std::move(calls)), cached_(descriptor), flags_(flags) {}
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() { Close(); }

  const fs::path& path() const { return path_; }
  const PosixCalls& calls() const { return *calls_; }
  int cached() const { return cached_; }

  // The one past the page cache, or -1 where there is none.
  int Direct() const {
    absl::call_once(direct_once_, [&] {
      // The file may have another name by now.
      const std::string open_file = absl::StrCat("/proc/self/fd/", cached_);
      direct_ = Uninterrupted(
          [&] { return calls_->open(open_file.c_str(), flags_ | O_DIRECT | O_CLOEXEC, 0); });
      if (direct_ < 0) TellOfNoDirectTransfers(errno);
    });
    return refused_.load(std::memory_order_relaxed) ? -1 : direct_;
  }

  // For file systems that open a file for direct transfers and then refuse them.
  void RefuseDirect(int error) const {
    refused_ = true;
    TellOfNoDirectTransfers(error);
  }

  // 0 or the error of the system.
  int Close() {
    int error = 0;
    for (int* descriptor : {&direct_, &cached_}) {
      if (*descriptor >= 0 && ::close(*descriptor) != 0) error = errno;
      *descriptor = -1;
    }
    return error;
  }

 private:
  void TellOfNoDirectTransfers(int error) const {
    if (calls_->told_of_no_direct_transfers.exchange(true)) return;
    LOG(INFO) << path_.native()
              << ": this file system has no direct transfers: " << std::strerror(error)
              << "; checkpoints go through the page cache";
  }

  fs::path path_;
  std::shared_ptr<const PosixCalls> calls_;
  int cached_;
  int flags_;
  mutable absl::once_flag direct_once_;
  mutable int direct_ = -1;
  mutable std::atomic<bool> refused_ = false;
};

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(fs::path path, std::shared_ptr<const PosixCalls> calls, int descriptor)
      : file_(std::move(path), std::move(calls), descriptor, O_WRONLY) {}

  absl::Status Allocate(int64_t bytes) override {
    if (bytes == 0) return absl::OkStatus();
    int result = Uninterrupted([&] { return file_.calls().fallocate(file_.cached(), 0, bytes); });
    if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
      result = Uninterrupted([&] { return ::ftruncate(file_.cached(), bytes); });
    }
    if (result == 0) return absl::OkStatus();
    return SystemError(errno,
                       absl::StrCat(file_.path().native(), ": cannot reserve ", bytes, " bytes"));
  }

  absl::Status Write(int64_t offset, std::span<const std::byte> bytes) override {
    const int64_t direct = DirectBytes(offset, bytes.data(), std::ssize(bytes));
    int64_t done = 0;
    if (direct > 0 && file_.Direct() >= 0) {
      HETERO_ASSIGN_OR_RETURN(done, WriteDirect(offset, bytes.first(direct)));
    }
    while (done < std::ssize(bytes)) {
      HETERO_ASSIGN_OR_RETURN(const int64_t written,
                              WriteOnce(file_.cached(), offset + done, bytes.subspan(done)));
      done += written;
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (lost_) return LostError();
    if (Uninterrupted([&] { return file_.calls().fdatasync(file_.cached()); }) == 0) {
      return absl::OkStatus();
    }
    lost_ = true;
    return SystemError(errno, absl::StrCat(file_.path().native(), ": cannot flush it"));
  }

  absl::Status Close() override {
    const int error = file_.Close();
    if (lost_) return LostError();
    if (error == 0) return absl::OkStatus();
    return SystemError(error, absl::StrCat(file_.path().native(), ": cannot close it"));
  }

 private:
  // Bytes written: fewer than given where the rest is to go through the page cache.
  absl::StatusOr<int64_t> WriteDirect(int64_t offset, std::span<const std::byte> bytes) {
    int64_t done = 0;
    while (done < std::ssize(bytes) && Aligned(done)) {
      const absl::StatusOr<int64_t> written =
          WriteOnce(file_.Direct(), offset + done, bytes.subspan(done));
      if (!written.ok() && done == 0 && errno == EINVAL) {
        file_.RefuseDirect(EINVAL);
        return 0;
      }
      HETERO_RETURN_IF_ERROR(written);
      done += *written;
    }
    return done;
  }

  // One call. Leaves errno as the call left it.
  absl::StatusOr<int64_t> WriteOnce(int descriptor, int64_t offset,
                                    std::span<const std::byte> bytes) {
    const int64_t size = std::min(std::ssize(bytes), kTransferBytes);
    const ssize_t written =
        Uninterrupted([&] { return file_.calls().pwrite(descriptor, bytes.data(), size, offset); });
    if (written > 0) return written;
    const int error = written == 0 ? ENOSPC : errno;
    const absl::Status status = SystemError(
        error, absl::StrCat(file_.path().native(), ": cannot write ", size, " bytes at ", offset));
    errno = error;
    return status;
  }

  absl::Status LostError() const {
    return absl::DataLossError(absl::StrCat(
        file_.path().native(), ": it could not be flushed before; its bytes are lost"));
  }

  Descriptors file_;
  std::atomic<bool> lost_ = false;
};

class PosixReadableFile : public ReadableFile {
 public:
  PosixReadableFile(fs::path path, std::shared_ptr<const PosixCalls> calls, int descriptor,
                    int64_t size)
      : file_(std::move(path), std::move(calls), descriptor, O_RDONLY), size_(size) {}

  int64_t size() const override { return size_; }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    const int64_t direct = DirectBytes(offset, out.data(), std::ssize(out));
    int64_t done = 0;
    while (done < std::ssize(out)) {
      const bool past_cache = done < direct && Aligned(done) && file_.Direct() >= 0;
      const int64_t end = past_cache ? direct : std::ssize(out);
      const int64_t size = std::min(end - done, kTransferBytes);
      const ssize_t got = ReadOnce(past_cache, out.data() + done, size, offset + done);
      if (got < 0 && past_cache && done == 0 && errno == EINVAL) {
        file_.RefuseDirect(EINVAL);
        continue;
      }
      if (got < 0) {
        return SystemError(errno, absl::StrCat(file_.path().native(), ": cannot read ", size,
                                               " bytes at ", offset + done));
      }
      if (got == 0) {
        return absl::DataLossError(absl::StrCat(file_.path().native(), ": ends at ", offset + done,
                                                " within the ", out.size(), " bytes at ", offset,
                                                "; it had ", size_, " bytes when it was opened"));
      }
      done += got;
    }
    return absl::OkStatus();
  }

 private:
  // One call, two where the device failed. Leaves errno as the last call left it.
  ssize_t ReadOnce(bool past_cache, std::byte* out, int64_t size, int64_t offset) const {
    const int descriptor = past_cache ? file_.Direct() : file_.cached();
    const auto read = [&] { return file_.calls().pread(descriptor, out, size, offset); };
    const ssize_t got = Uninterrupted(read);
    if (got >= 0 || errno != EIO) return got;
    LOG(WARNING) << file_.path().native() << ": cannot read " << size << " bytes at " << offset
                 << ": " << std::strerror(EIO) << "; trying once more";
    return Uninterrupted(read);
  }

  Descriptors file_;
  int64_t size_;
};

// A name beside `path` that no other process takes.
fs::path NameBeside(const fs::path& path) {
  std::random_device device;
  fs::path beside = path;
  beside += absl::StrFormat(".%08x%08x.tmp", device(), device());
  return beside;
}

absl::Status RenameError(int error, const fs::path& from, const fs::path& to) {
  return SystemError(error, absl::StrCat("cannot rename ", from.native(), " to ", to.native()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WritableFile>> PosixStorage::Create(const fs::path& path) {
  const int descriptor = Uninterrupted(
      [&] { return calls_->open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666); });
  if (descriptor < 0) return SystemError(errno, absl::StrCat("cannot create ", path.native()));
  return std::make_unique<PosixWritableFile>(path, calls_, descriptor);
}

absl::StatusOr<std::unique_ptr<WritableFile>> PosixStorage::OpenForWriting(const fs::path& path) {
  const int descriptor = Uninterrupted(
      [&] { return calls_->open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0); });
  if (descriptor < 0) return SystemError(errno, absl::StrCat("cannot open ", path.native()));
  return std::make_unique<PosixWritableFile>(path, calls_, descriptor);
}

absl::Status PosixStorage::CreateExclusive(const fs::path& path, std::string_view text) {
  const fs::path beside = NameBeside(path);
  absl::Status status = WriteText(*this, beside, text);
  if (status.ok() && calls_->link(beside.c_str(), path.c_str()) != 0) {
    switch (errno) {
      case EPERM:  // file systems without hard links
      case EOPNOTSUPP:
      case ENOSYS:
        status = Rename(beside, path, RenameMode::kNoReplace);
        break;
      default:
        status = SystemError(errno, absl::StrCat("cannot create ", path.native()));
    }
  }
  ::unlink(beside.c_str());
  return status;
}

absl::StatusOr<std::unique_ptr<ReadableFile>> PosixStorage::Open(const fs::path& path) {
  // O_NONBLOCK: opening a FIFO would wait for a writer. Regular files ignore it.
  const int descriptor = Uninterrupted(
      [&] { return calls_->open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0); });
  if (descriptor < 0) return SystemError(errno, absl::StrCat("cannot open ", path.native()));
  struct stat status;
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat(path.native(), " is not a regular file"));
  }
  return std::make_unique<PosixReadableFile>(path, calls_, descriptor, status.st_size);
}

absl::Status PosixStorage::Rename(const fs::path& from, const fs::path& to, RenameMode mode) {
  if (mode == RenameMode::kReplace) {
    return ::rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus()
                                                   : RenameError(errno, from, to);
  }
  const bool exchange = mode == RenameMode::kExchange;
  if (calls_->renameat2(from.c_str(), to.c_str(), exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE) ==
      0) {
    return absl::OkStatus();
  }
  if (errno != EINVAL && errno != ENOSYS) return RenameError(errno, from, to);
  if (exchange) {
    return absl::UnimplementedError(absl::StrCat("cannot exchange ", from.native(), " and ",
                                                 to.native(),
                                                 ": this file system does not exchange names"));
  }
  // A folder never replaces one that has files; a file can be linked.
  if (IsDirectory(from)) {
    if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return RenameError(errno == ENOTEMPTY ? EEXIST : errno, from, to);
  }
  if (calls_->link(from.c_str(), to.c_str()) != 0) return RenameError(errno, from, to);
  return Remove(from);
}

absl::Status PosixStorage::Link(const fs::path& from, const fs::path& to) {
  if (calls_->link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  const std::string text = absl::StrCat("cannot link ", to.native(), " to ", from.native());
  if (error == EPERM || error == EOPNOTSUPP) {
    return absl::UnimplementedError(absl::StrCat(text, ": the file system has no hard links"));
  }
  return SystemError(error, text);
}

absl::Status PosixStorage::SyncDirectory(const fs::path& path) {
  const auto error = [&] {
    return SystemError(errno, absl::StrCat(path.native(), ": cannot flush its names"));
  };
  const int descriptor = Uninterrupted(
      [&] { return calls_->open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); });
  if (descriptor < 0) return error();
  absl::Status status;
  if (Uninterrupted([&] { return ::fsync(descriptor); }) != 0) status = error();
  ::close(descriptor);
  return status;
}

absl::StatusOr<std::vector<std::string>> PosixStorage::List(const fs::path& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().native());
  }
  if (error) return SystemError(error.value(), absl::StrCat("cannot list ", path.native()));
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status PosixStorage::MakeDirectory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error && !fs::is_directory(path, error) && !error) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (!error) return absl::OkStatus();
  return SystemError(error.value(), absl::StrCat("cannot make the folder ", path.native()));
}

absl::Status PosixStorage::Remove(const fs::path& path) {
  if (::remove(path.c_str()) == 0) return absl::OkStatus();
  return SystemError(errno, absl::StrCat("cannot remove ", path.native()));
}

absl::StatusOr<int64_t> PosixStorage::FreeBytes(const fs::path& path) {
  struct statvfs status;
  if (::statvfs(path.c_str(), &status) != 0) {
    return SystemError(errno, absl::StrCat(path.native(), ": cannot tell the free space"));
  }
  return static_cast<int64_t>(status.f_bavail * status.f_frsize);
}

absl::StatusOr<PathKind> PosixStorage::KindOf(const fs::path& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return PathKind::kAbsent;
    return SystemError(errno, absl::StrCat("cannot look at ", path.native()));
  }
  return S_ISDIR(status.st_mode) ? PathKind::kDirectory : PathKind::kFile;
}

}  // namespace hetero
