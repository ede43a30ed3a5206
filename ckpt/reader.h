#ifndef HETERO_CKPT_READER_H_
#define HETERO_CKPT_READER_H_

// Reads what this rank reads of a checkpoint into its tensors.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/chunk_jobs.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Every block of a chunk that has wanted elements is read once, whole, and its checksum compared;
// of files of others, from its first to its last wanted element.
// `device`: of the targets; it is done when the call returns. Types may differ where they can be
// cast. Returns the bytes read.
// Errors: DATA_LOSS naming file, key, block and both checksums, or a file of another size than the
// index says; those of the storage, with the first key that needs the file.
absl::StatusOr<int64_t> ReadTargets(Storage& storage, const std::filesystem::path& directory,
                                    const CheckpointIndex& index,
                                    const std::vector<ReadRequest>& requests, int num_threads,
                                    Device device, MemoryLedger& ledger);

// Errors: likewise.
absl::StatusOr<nlohmann::json> ReadStoredObject(Storage& storage,
                                                const std::filesystem::path& directory,
                                                const CheckpointIndex& index, std::string_view name,
                                                const IndexedObject& object);

}  // namespace hetero

#endif  // HETERO_CKPT_READER_H_
