#ifndef HETERO_CKPT_FORMAT_ZIP_H_
#define HETERO_CKPT_FORMAT_ZIP_H_

// Archives of stored records, as PyTorch writes and reads them: PKWARE's APPNOTE.TXT, sections
// 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (ends), without compression.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct ZipRecord {
  std::string name;    // "archive/data/0"
  int64_t offset = 0;  // of its bytes, from the start of the archive
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};

// Reads the directory of the archive that is all of `file`, and the local header of every record.
// Sizes are those of the directory: PyTorch leaves them out elsewhere.
// Errors: DATA_LOSS for what is no archive, a record that is compressed, lies outside or over
// another one, is named twice or differently in its two headers; those of reading.
absl::StatusOr<std::vector<ZipRecord>> ReadZipDirectory(const ReadableFile& file);

// The bytes of a record. DATA_LOSS when they have another checksum than the directory says or more
// than `size_limit` bytes.
absl::StatusOr<std::string> ReadZipRecord(const ReadableFile& file, const ZipRecord& record,
                                          int64_t size_limit = int64_t{64} << 20);

// Writes an archive record by record, the bytes of a record being written by somebody else: a
// string of headers, the bytes, and at last the directory.
class ZipLayout {
 public:
  // Headers of a record whose bytes follow, at a multiple of `alignment` from the start of a file
  // that has the archive at `file_offset`. 1: without a field that fills up. Checksums of bytes
  // that are not known yet may be given any value: the text is as long.
  std::string LocalHeader(std::string_view name, int64_t bytes, uint32_t crc32,
                          int64_t file_offset = 0, int64_t alignment = 1);

  // What follows the bytes of the last record.
  std::string Directory() const;

 private:
  struct Record {
    std::string name;
    int64_t header_offset;
    int64_t bytes;
    uint32_t crc32;
  };
  std::vector<Record> records_;
  int64_t end_ = 0;  // of the records, from the start of the archive
};

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_ZIP_H_
