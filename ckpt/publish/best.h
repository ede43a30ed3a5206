#ifndef HETERO_CKPT_PUBLISH_BEST_H_
#define HETERO_CKPT_PUBLISH_BEST_H_

// The checkpoint of a folder that evaluations liked best. best.json names it.

#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct BestCheckpoint {
  int64_t iteration = 0;
  double loss = 0;

  bool operator==(const BestCheckpoint&) const = default;
};

// Nothing where no evaluation was remembered. Errors: DATA_LOSS naming the file for what is no such
// text; those of the storage.
absl::StatusOr<std::optional<BestCheckpoint>> ReadBest(Storage& storage,
                                                       const std::filesystem::path& folder);

// Durably and at one instant.
absl::Status WriteBest(Storage& storage, const std::filesystem::path& folder,
                       const BestCheckpoint& best);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_BEST_H_
