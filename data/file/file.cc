#include "hetero/data/file/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero::data {
namespace {

constexpr size_t kWriteBufferBytes = size_t{1} << 20;

absl::Status FileError(std::string_view what, const std::filesystem::path& path) {
  return SystemError(errno, absl::StrCat(what, " ", path.native()));
}

std::string_view KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "folder";
  if (S_ISFIFO(mode)) return "FIFO";
  if (S_ISSOCK(mode)) return "socket";
  return "device";
}

absl::Status NotRegular(const std::filesystem::path& path, mode_t mode) {
  return absl::InvalidArgumentError(
      absl::StrCat(path.native(), " is a ", KindOf(mode), "; it must be a regular file"));
}

absl::Status WriteAll(int descriptor, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return FileError("cannot write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

class PosixFile : public RandomAccessFile {
 public:
  PosixFile(std::filesystem::path path, int descriptor, uint64_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  ~PosixFile() override { close(descriptor_); }

  uint64_t size() const override { return size_; }

  absl::Status Read(uint64_t offset, std::span<char> out) const override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = pread(descriptor_, out.data() + done, out.size() - done,
                                  static_cast<off_t>(offset + done));
      if (count < 0) {
        if (errno == EINTR) continue;
        return FileError("cannot read", path_);
      }
      if (count == 0) {
        return absl::DataLossError(
            absl::StrFormat("%s ends at byte %d; bytes [%d, %d) were expected", path_.native(),
                            offset + done, offset, offset + out.size()));
      }
      done += static_cast<size_t>(count);
    }
    return absl::OkStatus();
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
  uint64_t size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenFile(const std::filesystem::path& path) {
  // Opening a FIFO would otherwise wait for a writer.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (descriptor < 0) {
    const int error = errno;
    // A socket cannot be opened, only looked at.
    if (stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      return NotRegular(path, info.st_mode);
    }
    errno = error;
    return FileError("cannot open", path);
  }
  absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  if (fstat(descriptor, &info) != 0) return FileError("cannot stat", path);
  if (!S_ISREG(info.st_mode)) return NotRegular(path, info.st_mode);
  std::move(close_descriptor).Cancel();
  return std::make_unique<PosixFile>(path, descriptor, static_cast<uint64_t>(info.st_size));
}

absl::Status MemoryFile::Read(uint64_t offset, std::span<char> out) const {
  if (offset < base_ || offset > size() || out.size() > size() - offset) {
    return absl::DataLossError(absl::StrFormat("bytes [%d, %d) lie outside [%d, %d)", offset,
                                               offset + out.size(), base_, size()));
  }
  if (!out.empty()) std::memcpy(out.data(), bytes_.data() + (offset - base_), out.size());
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, uint64_t size_limit) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, OpenFile(path));
  if (file->size() > size_limit) {
    return absl::InvalidArgumentError(absl::StrFormat("%s has %d bytes; at most %d are expected",
                                                      path.native(), file->size(), size_limit));
  }
  std::string bytes(file->size(), '\0');
  HETERO_RETURN_IF_ERROR(file->Read(0, bytes));
  return bytes;
}

absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  HETERO_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Create(temporary));
  HETERO_RETURN_IF_ERROR(writer.Write(bytes));
  HETERO_RETURN_IF_ERROR(writer.Close());
  return RenameDurably(temporary, path);
}

absl::Status AppendToFile(const std::filesystem::path& path, std::string_view bytes) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return FileError("cannot open", path);
  absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  struct stat before;
  if (fstat(descriptor, &before) != 0) return FileError("cannot stat", path);
  absl::Status status = WriteAll(descriptor, bytes, path);
  if (status.ok() && fsync(descriptor) != 0) status = FileError("cannot flush", path);
  if (!status.ok() && ftruncate(descriptor, before.st_size) != 0) {
    return absl::Status(status.code(),
                        absl::StrCat(status.message(), "; what was written of it stays"));
  }
  return status;
}

absl::Status SyncToDevice(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("cannot open", path);
  absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  // Some file systems have no flush for folders and say EINVAL.
  if (fsync(descriptor) != 0 && errno != EINVAL) return FileError("cannot flush", path);
  return absl::OkStatus();
}

absl::Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    return FileError(absl::StrCat("cannot rename ", from.native(), " to"), to);
  }
  return SyncToDevice(std::filesystem::absolute(to).parent_path());
}

absl::StatusOr<FileWriter> FileWriter::Create(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return FileError("cannot create", path);
  return FileWriter(path, descriptor);
}

FileWriter::FileWriter(std::filesystem::path path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {
  pending_.reserve(kWriteBufferBytes);
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      position_(other.position_),
      pending_(std::move(other.pending_)) {}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::Status FileWriter::Write(std::string_view bytes) {
  position_ += bytes.size();
  if (pending_.size() + bytes.size() > kWriteBufferBytes) {
    HETERO_RETURN_IF_ERROR(Flush());
  }
  if (bytes.size() >= kWriteBufferBytes) return WriteAll(descriptor_, bytes, path_);
  pending_.append(bytes);
  return absl::OkStatus();
}

absl::Status FileWriter::Flush() {
  HETERO_RETURN_IF_ERROR(WriteAll(descriptor_, pending_, path_));
  pending_.clear();
  return absl::OkStatus();
}

absl::Status FileWriter::Close() {
  absl::Status status = Flush();
  if (status.ok() && fsync(descriptor_) != 0) status = FileError("cannot flush", path_);
  if (close(std::exchange(descriptor_, -1)) != 0 && status.ok()) {
    status = FileError("cannot close", path_);
  }
  return status;
}

}  // namespace hetero::data
