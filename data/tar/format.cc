#include "hetero/data/tar/format.h"

#include <algorithm>
#include <cstring>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

struct Field {
  size_t offset;
  size_t size;
};

constexpr Field kName = {0, 100};
constexpr Field kMode = {100, 8};
constexpr Field kOwner = {108, 8};
constexpr Field kGroup = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kTime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kMagic = {257, 6};
constexpr Field kVersion = {263, 2};
constexpr Field kPrefix = {345, 155};

constexpr std::string_view kUstarMagic("ustar\0", 6);

using Block = std::span<const char, kTarBlockBytes>;

std::string_view View(Block block, Field field) {
  return std::string_view(block.data() + field.offset, field.size);
}

std::string_view Text(Block block, Field field) {
  const std::string_view bytes = View(block, field);
  return bytes.substr(0, bytes.find('\0'));
}

absl::StatusOr<uint64_t> ParseOctal(std::string_view field, std::string_view what) {
  const std::string_view digits = field.substr(0, field.find('\0'));
  uint64_t value = 0;
  bool ended = false;
  for (const char c : digits) {
    if (c == ' ') {
      ended = ended || value != 0;
      continue;
    }
    if (ended || c < '0' || c > '7') {
      return absl::DataLossError(absl::StrCat("the ", what, " field is no octal number"));
    }
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// GNU writes sizes of 8 GiB and more as big-endian binary with the top bit set.
absl::StatusOr<uint64_t> ParseSize(std::string_view field) {
  const auto first = static_cast<unsigned char>(field[0]);
  if (first < 0x80) return ParseOctal(field, "size");
  uint64_t value = first & 0x3f;
  for (const char c : field.substr(1)) {
    if (value >> 54 != 0) return absl::DataLossError("the size field is out of range");
    value = value << 8 | static_cast<unsigned char>(c);
  }
  if (first != 0x80) return absl::DataLossError("the size field is negative or out of range");
  return value;
}

struct Checksums {
  int64_t of_unsigned = 0;
  int64_t of_signed = 0;
};

// The sum of the block's bytes with the checksum field taken as spaces. Old tars added signed
// chars.
Checksums Sum(Block block) {
  Checksums sums;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool in_checksum = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    const char c = in_checksum ? ' ' : block[i];
    sums.of_unsigned += static_cast<unsigned char>(c);
    sums.of_signed += static_cast<signed char>(c);
  }
  return sums;
}

}  // namespace

bool IsZeroBlock(std::span<const char, kTarBlockBytes> block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

absl::StatusOr<TarHeader> ParseTarHeader(std::span<const char, kTarBlockBytes> block) {
  HETERO_ASSIGN_OR_RETURN(const uint64_t stored, ParseOctal(View(block, kChecksum), "checksum"));
  const Checksums sums = Sum(block);
  const auto expected = static_cast<int64_t>(stored);
  if (expected != sums.of_unsigned && expected != sums.of_signed) {
    return absl::DataLossError(
        absl::StrFormat("header checksum is %d, the bytes sum to %d", stored, sums.of_unsigned));
  }
  TarHeader header;
  header.type = block[kTypeOffset];
  HETERO_ASSIGN_OR_RETURN(header.size, ParseSize(View(block, kSize)));
  header.name = Text(block, kName);
  // GNU's magic differs and its prefix area holds other fields.
  if (View(block, kMagic) == kUstarMagic && block[kPrefix.offset] != '\0') {
    header.name = absl::StrCat(Text(block, kPrefix), "/", header.name);
  }
  // The first tars marked a directory by its name alone.
  if (header.type == '\0' && header.name.ends_with('/')) header.type = '5';
  return header;
}

void FormatTarHeader(std::string_view name, uint64_t size, char type,
                     std::span<char, kTarBlockBytes> block) {
  CHECK_LE(name.size(), kName.size);
  std::fill(block.begin(), block.end(), '\0');
  const auto put = [&](Field field, std::string_view text) {
    std::memcpy(block.data() + field.offset, text.data(), std::min(text.size(), field.size));
  };
  put(kName, name);
  put(kMode, "0000644");
  put(kOwner, "0000000");
  put(kGroup, "0000000");
  // A larger size is carried by a pax record; the field then stays zero.
  constexpr uint64_t kLargestOctal = (uint64_t{1} << 33) - 1;
  put(kSize, absl::StrFormat("%011o", size <= kLargestOctal ? size : 0));
  put(kTime, "00000000000");
  block[kTypeOffset] = type;
  put(kMagic, kUstarMagic);
  put(kVersion, "00");
  put(kChecksum, absl::StrFormat("%06o%c ", Sum(block).of_unsigned, '\0'));
}

absl::StatusOr<PaxRecords> ParsePaxRecords(std::string_view payload) {
  PaxRecords records;
  while (!payload.empty() && payload.front() != '\0') {
    const size_t space = payload.find(' ');
    uint64_t length = 0;
    if (space == std::string_view::npos || space > 19 ||
        !absl::SimpleAtoi(payload.substr(0, space), &length) || length > payload.size() ||
        length < space + 3 || payload[length - 1] != '\n') {
      return absl::DataLossError("a pax record has a wrong length");
    }
    const std::string_view record = payload.substr(space + 1, length - space - 2);
    payload.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) {
      return absl::DataLossError("a pax record has no '='");
    }
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") {
      records.path = std::string(value);
    } else if (key == "size") {
      uint64_t size = 0;
      if (!absl::SimpleAtoi(value, &size) || size >> 62 != 0) {
        return absl::DataLossError("the pax size record is no valid number");
      }
      records.size = size;
    } else if (key.starts_with("GNU.sparse.")) {
      records.is_sparse = true;
    }
  }
  return records;
}

std::string FormatPaxRecord(std::string_view key, std::string_view value) {
  const size_t body = key.size() + value.size() + 3;
  size_t length = body;
  while (absl::StrCat(length).size() + body != length) length = absl::StrCat(length).size() + body;
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

std::optional<MemberName> SplitMemberName(std::string_view name) {
  const std::string_view first = name.substr(0, name.find('/'));
  if (first.size() >= 4 && first.starts_with("__") && first.ends_with("__")) return std::nullopt;
  const size_t slash = name.rfind('/');
  const size_t start = slash == std::string_view::npos ? 0 : slash + 1;
  const size_t dot = name.find('.', start);
  if (dot == std::string_view::npos) return std::nullopt;
  if (dot == start) {
    // WebDataset's pattern lets the folder stand in for the base of a hidden file, unless the
    // folder's own name has a dot.
    if (start == 0) return std::nullopt;
    const std::string_view folder = name.substr(0, slash);
    const size_t folder_slash = folder.rfind('/');
    const size_t folder_start = folder_slash == std::string_view::npos ? 0 : folder_slash + 1;
    if (folder.find('.', folder_start) != std::string_view::npos) return std::nullopt;
  }
  return MemberName{.base = name.substr(0, dot), .extension = name.substr(dot + 1)};
}

}  // namespace hetero::data
