#include "hetero/ckpt/format/zip.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/byte_order.h"
#include "hetero/ckpt/format/crc32.h"

namespace hetero {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;

constexpr int64_t kLocalBytes = 30;
constexpr int64_t kCentralBytes = 46;
constexpr int64_t kEndBytes = 22;
constexpr int64_t kEnd64Bytes = 56;
constexpr int64_t kLocator64Bytes = 20;

constexpr uint32_t kIn64 = 0xffffffff;  // the value is in the zip64 field
constexpr uint16_t kZip64Field = 1;

// PyTorch's name for the field that fills up: "FB", and "Z" as what it is filled with.
constexpr uint16_t kFillField = 0x4246;

// Of directories that we read; a record takes about 70 bytes there.
constexpr int64_t kMaxDirectoryBytes = int64_t{64} << 20;

absl::Status NoArchive(std::string_view rule) {
  return absl::DataLossError(absl::StrCat("no zip archive: ", rule));
}

absl::StatusOr<std::string> ReadBytes(const ReadableFile& file, int64_t offset, int64_t bytes) {
  if (offset < 0 || bytes < 0 || bytes > file.size() || offset > file.size() - bytes) {
    return NoArchive(absl::StrCat(bytes, " bytes at ", offset, " lie outside of ", file.size()));
  }
  std::string text(bytes, '\0');
  HETERO_RETURN_IF_ERROR(file.Read(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

// Where the central directory lies.
struct Extent {
  uint64_t offset;
  uint64_t bytes;
  uint64_t entries;
};

absl::StatusOr<Extent> FindDirectory(const ReadableFile& file) {
  const int64_t end_offset = file.size() - kEndBytes;
  HETERO_ASSIGN_OR_RETURN(const std::string end, ReadBytes(file, end_offset, kEndBytes));
  if (ReadLittle(end, 0, 4) != kEndSignature || ReadLittle(end, 20, 2) != 0) {
    return NoArchive("no end record in the last 22 bytes");
  }
  Extent extent = {.offset = ReadLittle(end, 16, 4),
                   .bytes = ReadLittle(end, 12, 4),
                   .entries = ReadLittle(end, 10, 2)};
  int64_t behind = end_offset;
  if (end_offset >= kLocator64Bytes) {
    HETERO_ASSIGN_OR_RETURN(const std::string locator,
                            ReadBytes(file, end_offset - kLocator64Bytes, kLocator64Bytes));
    if (ReadLittle(locator, 0, 4) == kLocator64Signature) {
      const uint64_t at = ReadLittle(locator, 8, 8);
      if (at > static_cast<uint64_t>(end_offset)) {
        return NoArchive("the zip64 end record lies outside");
      }
      HETERO_ASSIGN_OR_RETURN(const std::string end64,
                              ReadBytes(file, static_cast<int64_t>(at), kEnd64Bytes));
      if (ReadLittle(end64, 0, 4) != kEnd64Signature) return NoArchive("no zip64 end record");
      extent = {.offset = ReadLittle(end64, 48, 8),
                .bytes = ReadLittle(end64, 40, 8),
                .entries = ReadLittle(end64, 32, 8)};
      behind = static_cast<int64_t>(at);
    }
  }
  const uint64_t limit = static_cast<uint64_t>(behind);
  if (extent.offset > limit || extent.bytes > limit - extent.offset) {
    return NoArchive(absl::StrCat("the directory of ", extent.bytes, " bytes at ", extent.offset,
                                  " lies outside of ", limit));
  }
  if (extent.bytes > uint64_t{kMaxDirectoryBytes}) {
    return NoArchive(absl::StrCat("a directory of ", extent.bytes, " bytes"));
  }
  return extent;
}

struct CentralEntry {
  ZipRecord record;
  uint64_t header_offset;
};

// Replaces sizes and offset by those of a zip64 field where they are in it.
absl::Status ReadZip64(std::string_view extra, uint64_t& bytes, uint64_t& stored,
                       uint64_t& header_offset) {
  while (extra.size() >= 4) {
    const uint64_t size = ReadLittle(extra, 2, 2);
    if (size > extra.size() - 4) return NoArchive("a field is longer than its record's header");
    std::string_view field = extra.substr(4, size);
    if (ReadLittle(extra, 0, 2) == kZip64Field) {
      for (uint64_t* value : {&bytes, &stored, &header_offset}) {
        if (*value != kIn64) continue;
        if (field.size() < 8) return NoArchive("a zip64 field is too short");
        *value = ReadLittle(field, 0, 8);
        field.remove_prefix(8);
      }
    }
    extra.remove_prefix(4 + size);
  }
  return absl::OkStatus();
}

// Takes one entry from the front.
absl::StatusOr<CentralEntry> TakeEntry(std::string_view& directory) {
  if (std::ssize(directory) < kCentralBytes || ReadLittle(directory, 0, 4) != kCentralSignature) {
    return NoArchive("the directory ends within an entry");
  }
  const uint64_t name_bytes = ReadLittle(directory, 28, 2);
  const uint64_t extra_bytes = ReadLittle(directory, 30, 2);
  const uint64_t entry_bytes =
      kCentralBytes + name_bytes + extra_bytes + ReadLittle(directory, 32, 2);
  if (entry_bytes > directory.size()) return NoArchive("the directory ends within an entry");
  CentralEntry entry;
  entry.record.name = directory.substr(kCentralBytes, name_bytes);
  uint64_t stored = ReadLittle(directory, 20, 4);
  uint64_t bytes = ReadLittle(directory, 24, 4);
  entry.header_offset = ReadLittle(directory, 42, 4);
  HETERO_RETURN_IF_ERROR(ReadZip64(directory.substr(kCentralBytes + name_bytes, extra_bytes), bytes,
                                   stored, entry.header_offset));
  if (ReadLittle(directory, 10, 2) != 0 || stored != bytes) {
    return absl::DataLossError(absl::StrCat("record ", absl::CHexEscape(entry.record.name),
                                            " is compressed; only stored ones are read"));
  }
  entry.record.bytes = static_cast<int64_t>(bytes);
  entry.record.crc32 = static_cast<uint32_t>(ReadLittle(directory, 16, 4));
  directory.remove_prefix(entry_bytes);
  return entry;
}

// Where the bytes of a record lie; `limit` is where the directory begins.
absl::Status Locate(const ReadableFile& file, uint64_t limit, CentralEntry& entry) {
  ZipRecord& record = entry.record;
  const auto error = [&](std::string_view rule) {
    return absl::DataLossError(
        absl::StrCat("record ", absl::CHexEscape(record.name), " of the zip archive ", rule));
  };
  const uint64_t name_bytes = record.name.size();
  if (entry.header_offset > limit || limit - entry.header_offset < kLocalBytes + name_bytes) {
    return error(absl::StrCat("at ", entry.header_offset, " lies outside of ", limit));
  }
  HETERO_ASSIGN_OR_RETURN(const std::string header,
                          ReadBytes(file, static_cast<int64_t>(entry.header_offset),
                                    kLocalBytes + static_cast<int64_t>(name_bytes)));
  if (ReadLittle(header, 0, 4) != kLocalSignature) return error("has no header");
  if (ReadLittle(header, 26, 2) != name_bytes || header.substr(kLocalBytes) != record.name) {
    return error("has another name in its own header");
  }
  const uint64_t offset =
      entry.header_offset + kLocalBytes + name_bytes + ReadLittle(header, 28, 2);
  if (offset > limit || static_cast<uint64_t>(record.bytes) > limit - offset) {
    return error(absl::StrCat("has ", static_cast<uint64_t>(record.bytes), " bytes at ", offset,
                              ", the records end at ", limit));
  }
  record.offset = static_cast<int64_t>(offset);
  return absl::OkStatus();
}

// That no two records share bytes or a name.
absl::Status CheckApart(std::vector<CentralEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](const CentralEntry& a, const CentralEntry& b) {
    return a.header_offset < b.header_offset;
  });
  for (size_t i = 1; i < entries.size(); ++i) {
    const ZipRecord& before = entries[i - 1].record;
    if (before.offset + before.bytes > static_cast<int64_t>(entries[i].header_offset)) {
      return absl::DataLossError(absl::StrCat("records ", absl::CHexEscape(before.name), " and ",
                                              absl::CHexEscape(entries[i].record.name),
                                              " of the zip archive overlap"));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const CentralEntry& a, const CentralEntry& b) {
    return a.record.name < b.record.name;
  });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i - 1].record.name != entries[i].record.name) continue;
    return absl::DataLossError(
        absl::StrCat("the zip archive has two records ", absl::CHexEscape(entries[i].record.name)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ZipRecord>> ReadZipDirectory(const ReadableFile& file) {
  HETERO_ASSIGN_OR_RETURN(const Extent extent, FindDirectory(file));
  HETERO_ASSIGN_OR_RETURN(
      const std::string text,
      ReadBytes(file, static_cast<int64_t>(extent.offset), static_cast<int64_t>(extent.bytes)));
  std::vector<CentralEntry> entries;
  for (std::string_view rest = text; !rest.empty();) {
    HETERO_ASSIGN_OR_RETURN(CentralEntry entry, TakeEntry(rest));
    HETERO_RETURN_IF_ERROR(Locate(file, extent.offset, entry));
    entries.push_back(std::move(entry));
  }
  if (entries.size() != extent.entries) {
    return NoArchive(
        absl::StrCat("the directory has ", entries.size(), " entries, not ", extent.entries));
  }
  HETERO_RETURN_IF_ERROR(CheckApart(entries));
  std::vector<ZipRecord> records;
  for (CentralEntry& entry : entries) records.push_back(std::move(entry.record));
  return records;
}

absl::StatusOr<std::string> ReadZipRecord(const ReadableFile& file, const ZipRecord& record,
                                          int64_t size_limit) {
  if (record.bytes > size_limit) {
    return absl::DataLossError(absl::StrCat("record ", absl::CHexEscape(record.name), " has ",
                                            record.bytes, " bytes, at most ", size_limit,
                                            " are expected"));
  }
  HETERO_ASSIGN_OR_RETURN(std::string bytes, ReadBytes(file, record.offset, record.bytes));
  if (const uint32_t found = Crc32(AsBytes(bytes)); found != record.crc32) {
    return absl::DataLossError(absl::StrCat("record ", absl::CHexEscape(record.name), " at ",
                                            record.offset, " has the checksum ",
                                            absl::Hex(found, absl::kZeroPad8), ", expected ",
                                            absl::Hex(record.crc32, absl::kZeroPad8)));
  }
  return bytes;
}

std::string ZipLayout::LocalHeader(std::string_view name, int64_t bytes, uint32_t crc32,
                                   int64_t file_offset, int64_t alignment) {
  std::string extra;
  if (alignment > 1) {
    constexpr int64_t kFieldBytes = 4;
    const int64_t at = file_offset + end_ + kLocalBytes + std::ssize(name) + kFieldBytes;
    const int64_t fill = RoundUp(at, alignment) - at;
    AppendLittle(extra, kFillField, 2);
    AppendLittle(extra, static_cast<uint64_t>(fill), 2);
    extra.append(fill, 'Z');
  }
  std::string header;
  AppendLittle(header, kLocalSignature, 4);
  header.append(10, '\0');  // version, flags, method, time, date
  AppendLittle(header, crc32, 4);
  AppendLittle(header, static_cast<uint64_t>(bytes), 4);
  AppendLittle(header, static_cast<uint64_t>(bytes), 4);
  AppendLittle(header, name.size(), 2);
  AppendLittle(header, extra.size(), 2);
  absl::StrAppend(&header, name, extra);
  records_.push_back(
      {.name = std::string(name), .header_offset = end_, .bytes = bytes, .crc32 = crc32});
  end_ += std::ssize(header) + bytes;
  return header;
}

std::string ZipLayout::Directory() const {
  std::string directory;
  for (const Record& record : records_) {
    AppendLittle(directory, kCentralSignature, 4);
    directory.append(12, '\0');  // versions, flags, method, time, date
    AppendLittle(directory, record.crc32, 4);
    AppendLittle(directory, static_cast<uint64_t>(record.bytes), 4);
    AppendLittle(directory, static_cast<uint64_t>(record.bytes), 4);
    AppendLittle(directory, record.name.size(), 2);
    directory.append(12, '\0');  // lengths of extra field and comment, disk, attributes
    AppendLittle(directory, static_cast<uint64_t>(record.header_offset), 4);
    directory += record.name;
  }
  std::string end;
  AppendLittle(end, kEndSignature, 4);
  end.append(4, '\0');  // disks
  AppendLittle(end, records_.size(), 2);
  AppendLittle(end, records_.size(), 2);
  AppendLittle(end, directory.size(), 4);
  AppendLittle(end, static_cast<uint64_t>(end_), 4);
  end.append(2, '\0');  // length of a comment
  return directory + end;
}

}  // namespace hetero
