#ifndef HETERO_DATA_TAR_SCANNER_H_
#define HETERO_DATA_TAR_SCANNER_H_

// Walks the members of a tar file and groups them into WebDataset samples.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"
#include "hetero/data/tar/format.h"

namespace hetero::data {

// A regular file in a tar.
struct TarMember {
  std::string name;
  uint64_t offset = 0;          // of its first header, long-name headers included
  uint64_t payload_offset = 0;  // of its first byte
  uint64_t payload_size = 0;
};

// Reads headers one after the other. The range [begin, file.size()) of `file` starts at a header.
// `file` and the names in messages must outlive the scanner.
class TarScanner {
 public:
  // `range` is what messages call the bytes up to file.size().
  TarScanner(const RandomAccessFile& file, std::string_view shard, uint64_t begin = 0,
             std::string_view range = "file")
      : file_(file), shard_(shard), range_(range), position_(begin) {}

  // Moves to the next regular file; false at the end of the archive. Directories, links and global
  // pax headers are passed over.
  // Errors: DATA_LOSS naming shard, offset and member for a bad header or a payload that the file
  // does not hold whole; UNIMPLEMENTED for sparse members.
  absl::StatusOr<bool> Next(TarMember& member);

  // Offset behind the last member's padding; meaningful once Next returned false.
  uint64_t end_offset() const { return position_; }

  // Whether the archive ended in a zero block; meaningful once Next returned false.
  bool has_end_marker() const { return has_end_marker_; }

 private:
  absl::Status Fail(uint64_t offset, std::string_view member, const absl::Status& cause) const;
  absl::StatusOr<std::string> ReadExtension(const TarHeader& header, uint64_t payload_offset) const;

  const RandomAccessFile& file_;
  std::string_view shard_;
  std::string_view range_;
  uint64_t position_;
  bool has_end_marker_ = false;
};

// A member of a sample.
struct PartEntry {
  std::string extension;
  uint64_t payload_offset = 0;
  uint64_t payload_size = 0;
};

// Adjacent members with one base name.
struct SampleEntry {
  std::string key;
  uint64_t offset = 0;  // of the first header of its first member
  std::vector<PartEntry> parts;
};

// What a shard holds.
struct ShardContents {
  std::vector<SampleEntry> samples;
  uint64_t end_offset = 0;
  bool has_end_marker = false;

  // Sample offsets and the end offset: the content of the shard's index file.
  std::vector<uint64_t> Index() const;
};

// Reads every header of `file`. Of parts with one extension the last wins. Errors as TarScanner,
// and DATA_LOSS for a compressed file or one that goes on behind its end marker.
absl::StatusOr<ShardContents> ScanShard(const RandomAccessFile& file, std::string_view shard);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_SCANNER_H_
