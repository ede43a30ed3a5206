#ifndef HETERO_DATA_TAR_FORMAT_H_
#define HETERO_DATA_TAR_FORMAT_H_

// The tar format (POSIX.1-2017 pax, ustar, GNU long names) and WebDataset's member names, as pure
// functions over bytes.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/base/rounding.h"

namespace hetero::data {

inline constexpr uint64_t kTarBlockBytes = 512;

// Archives end on a multiple of this, as tar has written them since 20-block tape records.
inline constexpr uint64_t kTarRecordBytes = 20 * kTarBlockBytes;

// `size` rounded up to whole blocks.
constexpr uint64_t TarPaddedSize(uint64_t size) { return RoundUp(size, kTarBlockBytes); }

// One 512-byte header.
struct TarHeader {
  std::string name;  // with the ustar prefix; GNU and pax long names come from other headers
  uint64_t size = 0;
  char type = '0';

  bool IsRegular() const { return type == '0' || type == '\0' || type == '7'; }

  // Directories, links and devices carry no payload, whatever their size field says.
  bool HasPayload() const { return !(type >= '1' && type <= '6'); }
};

// True when the block ends an archive.
bool IsZeroBlock(std::span<const char, kTarBlockBytes> block);

// DATA_LOSS for a wrong checksum or a malformed number.
absl::StatusOr<TarHeader> ParseTarHeader(std::span<const char, kTarBlockBytes> block);

// A regular file's header with zero times and owners. Precondition: name.size() <= 100.
void FormatTarHeader(std::string_view name, uint64_t size, char type,
                     std::span<char, kTarBlockBytes> block);

// The records of a pax extended header that change how a member is read.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
  bool is_sparse = false;
};

// `payload`: "length key=value\n" records. DATA_LOSS when one is malformed.
absl::StatusOr<PaxRecords> ParsePaxRecords(std::string_view payload);

// One "length key=value\n" record; the length counts its own digits.
std::string FormatPaxRecord(std::string_view key, std::string_view value);

// A member name split at the first dot of its last path component: "d/a.tar.gz" is sample "d/a",
// extension "tar.gz".
struct MemberName {
  std::string_view base;
  std::string_view extension;
};

// nullopt for names that belong to no sample: without a dot, hidden, or under a "__name__" folder.
// Views point into `name`.
std::optional<MemberName> SplitMemberName(std::string_view name);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_FORMAT_H_
