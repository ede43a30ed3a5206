#include "hetero/data/tar/index.h"

#include <bit>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/format.h"

namespace hetero::data {

static_assert(std::endian::native == std::endian::little, "index files are little endian");

std::filesystem::path TarIndexPath(const std::filesystem::path& shard) {
  return std::filesystem::path(shard) += ".idx";
}

absl::StatusOr<std::vector<uint64_t>> ParseTarIndex(std::string_view bytes) {
  if (bytes.empty() || bytes.size() % sizeof(uint64_t) != 0) {
    return absl::DataLossError(absl::StrFormat(
        "an index has 8 bytes an entry and at least one; this one has %d bytes", bytes.size()));
  }
  std::vector<uint64_t> index(bytes.size() / sizeof(uint64_t));
  std::memcpy(index.data(), bytes.data(), bytes.size());
  for (size_t i = 0; i < index.size(); ++i) {
    if (index[i] % kTarBlockBytes != 0 || (i > 0 && index[i] <= index[i - 1])) {
      return absl::DataLossError(absl::StrFormat(
          "index entry %d is %d: offsets are increasing multiples of 512", i, index[i]));
    }
  }
  return index;
}

std::string FormatTarIndex(std::span<const uint64_t> index) {
  return std::string(reinterpret_cast<const char*>(index.data()), index.size_bytes());
}

absl::StatusOr<std::vector<uint64_t>> ReadTarIndex(const std::filesystem::path& shard) {
  const std::filesystem::path path = TarIndexPath(shard);
  HETERO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<std::vector<uint64_t>> index = ParseTarIndex(bytes);
  HETERO_RETURN_IF_ERROR(index.status()).With(path.native());
  return index;
}

absl::Status WriteTarIndex(const std::filesystem::path& shard, std::span<const uint64_t> index) {
  const std::filesystem::path path = TarIndexPath(shard);
  HETERO_RETURN_IF_ERROR(WriteFileAtomically(path, FormatTarIndex(index)));
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::perms shard_mode = fs::status(shard, error).permissions();
  if (!error) {
    fs::permissions(path, shard_mode | fs::perms::owner_read | fs::perms::owner_write, error);
  }
  if (error) {
    return SystemError(error.value(), absl::StrCat("cannot set permissions of ", path.native()));
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
