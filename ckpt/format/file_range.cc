#include "hetero/ckpt/format/file_range.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

absl::Status CheckInside(int64_t offset, size_t count, int64_t size) {
  const int64_t bytes = static_cast<int64_t>(count);
  if (offset >= 0 && bytes <= size && offset <= size - bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(bytes, " bytes at ", offset, " lie outside of ", size));
}

}  // namespace

absl::Status FileRange::Read(int64_t offset, std::span<std::byte> out) const {
  if (absl::Status status = CheckInside(offset, out.size(), bytes_); !status.ok()) return status;
  return file_.Read(offset_ + offset, out);
}

absl::Status TextFile::Read(int64_t offset, std::span<std::byte> out) const {
  if (absl::Status status = CheckInside(offset, out.size(), size()); !status.ok()) return status;
  if (!out.empty()) std::memcpy(out.data(), text_.data() + offset, out.size());
  return absl::OkStatus();
}

}  // namespace hetero
