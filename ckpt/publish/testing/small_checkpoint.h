#ifndef HETERO_CKPT_PUBLISH_TESTING_SMALL_CHECKPOINT_H_
#define HETERO_CKPT_PUBLISH_TESTING_SMALL_CHECKPOINT_H_

// A directory with all that publication looks at and a few short texts, each of which says of which
// iteration and which save it is: whatever is mixed shows.

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

inline constexpr int64_t kSmallCheckpointBytes = 1500;

// The files of a checkpoint, synced, the manifest last. The names in the folder are not synced.
absl::Status WriteSmallCheckpoint(Storage& storage, const std::filesystem::path& directory,
                                  int64_t iteration, std::string_view save_id);

// The iteration of a committed checkpoint. DATA_LOSS unless every byte is of one save of it.
absl::StatusOr<int64_t> VerifySmallCheckpoint(Storage& storage,
                                              const std::filesystem::path& directory);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_TESTING_SMALL_CHECKPOINT_H_
