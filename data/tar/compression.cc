#include "hetero/data/tar/compression.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/shell_word.h"

namespace hetero::data {
namespace {

struct Compression {
  std::string_view name;
  std::string_view signature;  // first bytes of the file
  std::string_view command;    // writes its argument, unpacked, to standard output
};

constexpr Compression kCompressions[] = {
    {"gzip", "\x1f\x8b", "gzip -dc <"},
    {"bzip2", "BZh", "bzip2 -dc <"},
    {"xz",
     std::string_view("\xfd"
                      "7zXZ\0",
                      6),
     "xz -dc <"},
    {"zstd", "\x28\xb5\x2f\xfd", "zstd -dc <"},
    {"lz4", "\x04\x22\x4d\x18", "lz4 -dc <"},
    {"zip", "PK\x03\x04", ""},
};

}  // namespace

absl::Status CheckUncompressed(const RandomAccessFile& file, std::string_view shard) {
  std::array<char, 8> bytes = {};
  const size_t count = std::min<uint64_t>(bytes.size(), file.size());
  HETERO_RETURN_IF_ERROR(file.Read(0, std::span(bytes).first(count)));
  const std::string_view begin(bytes.data(), count);
  for (const Compression& compression : kCompressions) {
    if (!begin.starts_with(compression.signature)) continue;
    const std::string name = ShellWord(shard);
    const std::string temporary = ShellWord(absl::StrCat(shard, ".unpacked"));
    const std::string unpack =
        compression.command.empty()
            ? std::string("unpack it with unzip and pack it with tar")
            : absl::StrFormat("in the data set's folder, unpack it: %s %s > %s && mv %s %s",
                              compression.command, name, temporary, temporary, name);
    return absl::DataLossError(
        absl::StrFormat("shard %s is compressed with %s, which has no random access; %s", shard,
                        compression.name, unpack));
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
