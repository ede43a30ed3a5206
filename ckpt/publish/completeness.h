#ifndef HETERO_CKPT_PUBLISH_COMPLETENESS_H_
#define HETERO_CKPT_PUBLISH_COMPLETENESS_H_

// Whether a folder holds a whole checkpoint. COMMIT, written last, has the SHA-256 of the manifest;
// the manifest lists every other file with its size and checksum.

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

enum class CheckpointKind {
  kNone,     // no folder, or nothing of a checkpoint in it
  kOurs,     // has a manifest
  kForeign,  // has metadata.json and no manifest: written by others
};
CheckpointKind KindOfCheckpoint(Storage& storage, const std::filesystem::path& directory);

// Whether COMMIT is there: cheap, for lists. CheckComplete says whether it holds.
bool IsCommitted(Storage& storage, const std::filesystem::path& directory);

// The manifest of a directory whose COMMIT matches it.
// Errors: DATA_LOSS naming the file when the directory, COMMIT or the manifest is missing, or
// COMMIT is not that of the manifest.
absl::StatusOr<std::string> ReadCommittedManifest(Storage& storage,
                                                  const std::filesystem::path& directory);

// As ReadCommittedManifest, and every file listed is there with its size. Checksums are not read.
// Errors: DATA_LOSS naming the first file, both sizes and what it holds; those of ParseManifest.
absl::StatusOr<std::string> CheckComplete(Storage& storage, const std::filesystem::path& directory);

// CheckComplete of a directory that has no COMMIT yet and may hold nothing else.
absl::StatusOr<std::string> CheckStaged(Storage& storage, const std::filesystem::path& directory);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_COMPLETENESS_H_
