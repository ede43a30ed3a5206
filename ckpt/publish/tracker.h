#ifndef HETERO_CKPT_PUBLISH_TRACKER_H_
#define HETERO_CKPT_PUBLISH_TRACKER_H_

// The tracker names the checkpoint that a run goes on from: an iteration in decimal digits, or
// "release". Megatron reads and writes the same file.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct Tracker {
  enum class Kind { kAbsent, kIteration, kRelease, kGarbled };

  Kind kind = Kind::kAbsent;
  int64_t iteration = -1;  // of kIteration

  // What a rank tells the others: -1 for none, -2 for "release", -3 for garbled.
  int64_t Encode() const;
  static Tracker Decode(int64_t code);

  // The folder it names. Precondition: kIteration or kRelease.
  std::string CheckpointName() const;

  bool operator==(const Tracker&) const = default;
};

// Spaces and line ends around the number count for nothing.
Tracker ParseTracker(std::string_view text);

// kAbsent where there is no such file.
absl::StatusOr<Tracker> ReadTracker(Storage& storage, const std::filesystem::path& folder);

// Makes `iteration` the one to go on from, durably and at one instant.
absl::Status WriteTracker(Storage& storage, const std::filesystem::path& folder, int64_t iteration);

// What all ranks go by when each has read the tracker: the highest iteration, else "release", else
// garbled. Where ranks saw different things `warnings` say which.
struct AgreedTracker {
  Tracker tracker;
  std::vector<std::string> warnings;
};
AgreedTracker AgreeOnTracker(std::span<const Tracker> by_rank);

}  // namespace hetero

#endif  // HETERO_CKPT_PUBLISH_TRACKER_H_
