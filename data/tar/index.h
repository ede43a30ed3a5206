#ifndef HETERO_DATA_TAR_INDEX_H_
#define HETERO_DATA_TAR_INDEX_H_

// "<shard>.tar.idx" of Megatron-Energon: little-endian u64 offsets of the samples, then the offset
// where the archive's end marker begins. Sample i occupies bytes [index[i], index[i + 1]).

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero::data {

// The index file of a shard.
std::filesystem::path TarIndexPath(const std::filesystem::path& shard);

// DATA_LOSS unless `bytes` holds at least one offset and strictly increasing block boundaries.
absl::StatusOr<std::vector<uint64_t>> ParseTarIndex(std::string_view bytes);
std::string FormatTarIndex(std::span<const uint64_t> index);

// Reads and writes the index of `shard`. The written file gets the shard's permissions.
// Errors: those of SystemError, naming the file; of reading also that of ParseTarIndex.
absl::StatusOr<std::vector<uint64_t>> ReadTarIndex(const std::filesystem::path& shard);
absl::Status WriteTarIndex(const std::filesystem::path& shard, std::span<const uint64_t> index);

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_INDEX_H_
