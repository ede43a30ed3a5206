#ifndef HETERO_DATA_TAR_ARCHIVE_END_H_
#define HETERO_DATA_TAR_ARCHIVE_END_H_

// What lies behind the end of an archive. Nothing but zeros may: tar, webdataset and
// Megatron-Energon stop at the first zero block, so samples behind it would be lost in silence.

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"

namespace hetero::data {

// Offset of the first block at or behind `offset` that is not all zeros, or file.size().
// Precondition: offset is a multiple of 512 and at most file.size().
absl::StatusOr<uint64_t> SkipZeroBlocks(const RandomAccessFile& file, uint64_t offset);

// OK when only zeros follow the end of the last member, `end`. Errors: DATA_LOSS naming `shard` and
// what follows. Precondition: as SkipZeroBlocks, and the block at `end` is zero or missing.
absl::Status CheckArchiveEnd(const RandomAccessFile& file, std::string_view shard, uint64_t end);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_ARCHIVE_END_H_
