#include "hetero/data/tar/scanner.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/tar/archive_end.h"
#include "hetero/data/tar/compression.h"

namespace hetero::data {
namespace {

// Long names and pax records are small; a damaged size must not make us allocate gigabytes.
constexpr uint64_t kLargestExtensionBytes = uint64_t{1} << 20;

}  // namespace

absl::Status TarScanner::Fail(uint64_t offset, std::string_view member,
                              const absl::Status& cause) const {
  const std::string where = member.empty()
                                ? absl::StrFormat("shard %s, header at byte %d", shard_, offset)
                                : absl::StrFormat("shard %s, member \"%s\" at byte %d", shard_,
                                                  absl::Utf8SafeCHexEscape(member), offset);
  return Annotate(cause, where);
}

absl::StatusOr<std::string> TarScanner::ReadExtension(const TarHeader& header,
                                                      uint64_t payload_offset) const {
  if (header.size > kLargestExtensionBytes) {
    return absl::DataLossError(
        absl::StrFormat("an extended header of %d bytes is not plausible", header.size));
  }
  std::string payload(header.size, '\0');
  HETERO_RETURN_IF_ERROR(file_.Read(payload_offset, payload));
  return payload;
}

absl::StatusOr<bool> TarScanner::Next(TarMember& member) {
  // Where the member's first extended header began, if it has one.
  uint64_t first_header = 0;
  bool is_extended = false;
  std::optional<std::string> long_name;
  PaxRecords pax;
  while (true) {
    const uint64_t offset = position_;
    const uint64_t available = file_.size() - std::min(offset, file_.size());
    if (available == 0 && !is_extended) return false;
    if (available < kTarBlockBytes) {
      return Fail(offset, "",
                  absl::DataLossError(absl::StrFormat(
                      "the %s ends after %d of the header's 512 bytes", range_, available)));
    }
    std::array<char, kTarBlockBytes> block;
    HETERO_RETURN_IF_ERROR(file_.Read(offset, block));
    if (IsZeroBlock(block)) {
      if (is_extended) {
        return Fail(offset, "", absl::DataLossError("the archive ends after an extended header"));
      }
      has_end_marker_ = true;
      return false;
    }
    absl::StatusOr<TarHeader> parsed = ParseTarHeader(block);
    if (!parsed.ok()) return Fail(offset, "", parsed.status());
    TarHeader& header = *parsed;

    const bool extends_next = header.type == 'L' || header.type == 'K' || header.type == 'x';
    if (!extends_next) {
      if (header.type != 'g') {
        if (pax.path.has_value()) long_name = std::move(pax.path);
        if (long_name.has_value()) header.name = *std::move(long_name);
        if (pax.size.has_value()) header.size = *pax.size;
      }
      if (header.type == 'S' || pax.is_sparse) {
        return Fail(offset, header.name,
                    absl::UnimplementedError(
                        "sparse members are not supported; write the archive without --sparse"));
      }
    }
    const uint64_t payload_offset = offset + kTarBlockBytes;
    const uint64_t payload_size = header.HasPayload() ? header.size : 0;
    const uint64_t left = available - kTarBlockBytes;
    if (payload_size > left || TarPaddedSize(payload_size) > left) {
      return Fail(offset, header.name,
                  absl::DataLossError(absl::StrFormat(
                      "the payload has %d bytes (%d with padding) but the %s ends after %d",
                      payload_size, TarPaddedSize(payload_size), range_, left)));
    }
    position_ = payload_offset + TarPaddedSize(payload_size);

    if (extends_next) {
      if (!is_extended) first_header = offset;
      is_extended = true;
      absl::StatusOr<std::string> payload = ReadExtension(header, payload_offset);
      if (!payload.ok()) return Fail(offset, header.name, payload.status());
      if (header.type == 'L') {
        long_name = payload->substr(0, payload->find('\0'));
      } else if (header.type == 'x') {
        absl::StatusOr<PaxRecords> records = ParsePaxRecords(*payload);
        if (!records.ok()) return Fail(offset, header.name, records.status());
        pax = *std::move(records);
      }
      continue;
    }
    if (header.type == 'g') continue;
    if (!header.IsRegular()) {
      is_extended = false;
      long_name.reset();
      pax = PaxRecords();
      continue;
    }
    member.name = std::move(header.name);
    member.offset = is_extended ? first_header : offset;
    member.payload_offset = payload_offset;
    member.payload_size = payload_size;
    return true;
  }
}

std::vector<uint64_t> ShardContents::Index() const {
  std::vector<uint64_t> index;
  index.reserve(samples.size() + 1);
  for (const SampleEntry& sample : samples) index.push_back(sample.offset);
  index.push_back(end_offset);
  return index;
}

absl::StatusOr<ShardContents> ScanShard(const RandomAccessFile& file, std::string_view shard) {
  HETERO_RETURN_IF_ERROR(CheckUncompressed(file, shard));
  ShardContents contents;
  TarScanner scanner(file, shard);
  TarMember member;
  while (true) {
    HETERO_ASSIGN_OR_RETURN(const bool found, scanner.Next(member));
    if (!found) break;
    const std::optional<MemberName> name = SplitMemberName(member.name);
    if (!name.has_value()) continue;
    if (contents.samples.empty() || contents.samples.back().key != name->base) {
      contents.samples.push_back(
          SampleEntry{.key = std::string(name->base), .offset = member.offset, .parts = {}});
    }
    std::vector<PartEntry>& parts = contents.samples.back().parts;
    auto part = std::find_if(parts.begin(), parts.end(), [&](const PartEntry& entry) {
      return entry.extension == name->extension;
    });
    if (part == parts.end()) {
      part = parts.insert(part, PartEntry{.extension = std::string(name->extension),
                                          .payload_offset = 0,
                                          .payload_size = 0});
    }
    part->payload_offset = member.payload_offset;
    part->payload_size = member.payload_size;
  }
  HETERO_RETURN_IF_ERROR(CheckArchiveEnd(file, shard, scanner.end_offset()));
  contents.end_offset = scanner.end_offset();
  contents.has_end_marker = scanner.has_end_marker();
  return contents;
}

}  // namespace hetero::data
