#ifndef HETERO_CKPT_INDEX_WRITER_H_
#define HETERO_CKPT_INDEX_WRITER_H_

// What describes the files of a checkpoint, from what their writers tell.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/file_layout.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/snapshot.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// What a member tells of its files, as bytes to be sent. `files`: those of the layout, written.
std::string DescribeFiles(const FileLayout& layout, const std::vector<FilePlan>& files);

// Writes the index of others, the common state, checksums and the manifest, and makes their bytes
// and the names in the directory durable. `written`: of all members. Returns the bytes of all
// files.
absl::StatusOr<int64_t> WriteIndex(Storage& storage, const std::filesystem::path& directory,
                                   const WorldPlan& plan, std::span<const std::string> written,
                                   const SaveOptions& options);

}  // namespace hetero

#endif  // HETERO_CKPT_INDEX_WRITER_H_
