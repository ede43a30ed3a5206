#ifndef HETERO_DATA_TAR_COMPRESSION_H_
#define HETERO_DATA_TAR_COMPRESSION_H_

// Tells archives that are compressed, whatever their name says, from damaged ones.

#include <string_view>

#include "absl/status/status.h"
#include "hetero/data/file/file.h"

namespace hetero::data {

// Errors: DATA_LOSS naming the compression of `file` and the command that unpacks `shard`, its name
// relative to the data set's folder.
absl::Status CheckUncompressed(const RandomAccessFile& file, std::string_view shard);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_COMPRESSION_H_
