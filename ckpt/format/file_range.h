#ifndef HETERO_CKPT_FORMAT_FILE_RANGE_H_
#define HETERO_CKPT_FORMAT_FILE_RANGE_H_

// Bytes of something else as a file of their own.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// `bytes` of a file from `offset` on. Owns nothing. Precondition: they lie in the file.
class FileRange : public ReadableFile {
 public:
  FileRange(const ReadableFile& file, int64_t offset, int64_t bytes)
      : file_(file), offset_(offset), bytes_(bytes) {}

  int64_t size() const override { return bytes_; }
  absl::Status Read(int64_t offset, std::span<std::byte> out) const override;

 private:
  const ReadableFile& file_;
  int64_t offset_;
  int64_t bytes_;
};

// A text in memory. Owns nothing.
class TextFile : public ReadableFile {
 public:
  explicit TextFile(std::string_view text) : text_(text) {}

  int64_t size() const override { return static_cast<int64_t>(text_.size()); }
  absl::Status Read(int64_t offset, std::span<std::byte> out) const override;

 private:
  std::string_view text_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_FILE_RANGE_H_
