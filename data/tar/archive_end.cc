#include "hetero/data/tar/archive_end.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/tar/format.h"
#include "hetero/data/tar/repack_command.h"

namespace hetero::data {
namespace {

// The padding that tar writes fits in one piece.
constexpr size_t kPieceBytes = 64 * kTarBlockBytes;

}  // namespace

absl::StatusOr<uint64_t> SkipZeroBlocks(const RandomAccessFile& file, uint64_t offset) {
  std::string piece;
  while (offset < file.size()) {
    piece.resize(std::min<uint64_t>(kPieceBytes, file.size() - offset));
    HETERO_RETURN_IF_ERROR(file.Read(offset, piece));
    const size_t other = piece.find_first_not_of('\0');
    if (other != std::string::npos) return offset + other / kTarBlockBytes * kTarBlockBytes;
    offset += piece.size();
  }
  return file.size();
}

absl::Status CheckArchiveEnd(const RandomAccessFile& file, std::string_view shard, uint64_t end) {
  HETERO_ASSIGN_OR_RETURN(const uint64_t next, SkipZeroBlocks(file, end));
  if (next == file.size()) return absl::OkStatus();
  std::array<char, kTarBlockBytes> block;
  absl::StatusOr<TarHeader> header = absl::DataLossError("no block is left");
  if (file.size() - next >= block.size()) {
    HETERO_RETURN_IF_ERROR(file.Read(next, block));
    header = ParseTarHeader(block);
  }
  if (!header.ok()) {
    return absl::DataLossError(absl::StrFormat(
        "shard %s ends at byte %d, but bytes that are no tar header follow at byte %d; copy it "
        "again from its source",
        shard, end, next));
  }
  return absl::DataLossError(absl::StrFormat(
      "shard %s is two archives joined: the first ends at byte %d, where readers of tar stop, and "
      "another begins at byte %d with \"%s\"; in the data set's folder, make one archive of it: %s",
      shard, end, next, absl::Utf8SafeCHexEscape(header->name), RepackCommand(shard)));
}

}  // namespace hetero::data
