#ifndef HETERO_DATA_FILE_FILE_H_
#define HETERO_DATA_FILE_FILE_H_

// Files as data libraries need them: exact reads at an offset, writes that appear whole or not at
// all. Errors of the system are those of SystemError, naming the path.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

// Bytes that can be read at any offset. Thread safe.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;

  // Bytes, as they were when the file was opened.
  virtual uint64_t size() const = 0;

  // Fills `out` from `offset`. DATA_LOSS when the bytes end first.
  virtual absl::Status Read(uint64_t offset, std::span<char> out) const = 0;
};

// Opens a regular file for reading; never waits. Errors name the path: NOT_FOUND, INVALID_ARGUMENT
// for a folder, FIFO, socket or device, RESOURCE_EXHAUSTED at the limit of open files, or the
// system's reason.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenFile(const std::filesystem::path& path);

// A window of a file that is already in memory: `bytes` lie at [base, base + bytes.size()).
// Owns nothing.
class MemoryFile : public RandomAccessFile {
 public:
  explicit MemoryFile(std::string_view bytes, uint64_t base = 0) : bytes_(bytes), base_(base) {}

  uint64_t size() const override { return base_ + bytes_.size(); }
  absl::Status Read(uint64_t offset, std::span<char> out) const override;

 private:
  std::string_view bytes_;
  uint64_t base_;
};

// The whole file as bytes. `size_limit` bounds what a damaged size can make us allocate.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                                     uint64_t size_limit = uint64_t{1} << 30);

// Writes `path` under a temporary name beside it, flushes it to the device and renames it.
absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes);

// Adds `bytes` to the end of `path`, which is made where it is missing, and flushes it to the
// device. After an error the file is as long as before, if the system lets it be cut.
absl::Status AppendToFile(const std::filesystem::path& path, std::string_view bytes);

// Flushes a file or a folder to the device.
absl::Status SyncToDevice(const std::filesystem::path& path);

// Renames a file or folder; neither name is lost when the machine stops in between.
absl::Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to);

// Sequential writer of a file. Close() reports what the writes did; a writer that is destroyed
// open leaves a partial file.
class FileWriter {
 public:
  static absl::StatusOr<FileWriter> Create(const std::filesystem::path& path);

  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;
  ~FileWriter();

  // Bytes given to Write so far.
  uint64_t position() const { return position_; }

  absl::Status Write(std::string_view bytes);

  // Flushes to the device and closes. Precondition: not closed.
  absl::Status Close();

 private:
  FileWriter(std::filesystem::path path, int descriptor);
  absl::Status Flush();

  std::filesystem::path path_;
  int descriptor_;
  uint64_t position_ = 0;
  std::string pending_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_FILE_H_
