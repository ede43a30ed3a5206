#ifndef HETERO_CKPT_INSPECT_CONTENTS_H_
#define HETERO_CKPT_INSPECT_CONTENTS_H_

// What lies in a folder of checkpoints and in one of them, without reading their tensors.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/publish/tracker.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct CheckpointSummary {
  std::string name;  // of the folder
  bool tracked = false;
  // Ours: whole as far as names and sizes say. Else what is missing, or whose it is.
  std::string problem;
  int64_t bytes = 0;
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t world_size = 0;
};

struct FolderContents {
  Tracker tracker;
  std::vector<CheckpointSummary> checkpoints;  // by iteration, "release" first
  std::vector<std::string> unfinished;         // saves in work or left by dead runs, and trash
};

// Errors: those of the storage.
absl::StatusOr<FolderContents> ListFolder(Storage& storage, const std::filesystem::path& folder);

// One line a checkpoint, and what else there is.
std::string FolderText(const FolderContents& contents);

// One line a tensor and object of a checkpoint of ours: key, type, shape, chunks, bytes.
// Errors: those of ReadCommittedManifest and ParseManifest.
absl::StatusOr<std::string> CheckpointText(Storage& storage,
                                           const std::filesystem::path& directory);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_CONTENTS_H_
