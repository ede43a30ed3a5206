#ifndef HETERO_TRAINER_CHECKPOINT_LOAD_SOURCE_H_
#define HETERO_TRAINER_CHECKPOINT_LOAD_SOURCE_H_

// Which checkpoint a configuration means.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/publish/lease.h"
#include "hetero/ckpt/publish/resume.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/trainer/checkpoint/run_state.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Where runs without checkpoint.save.folder save, in their own folders.
inline constexpr std::string_view kCheckpointsFolder = "checkpoints";

inline constexpr std::string_view kLatest = "latest";

struct LoadSource {
  std::filesystem::path folder;
  ResumePlan plan;  // without candidates the run begins with new weights
  // Nobody deletes the candidates meanwhile.
  std::vector<std::unique_ptr<ReaderLease>> leases;
};

// What `config`, which has checkpoint.load, begins with. Relative folders begin at
// `working_folder`.
// Errors: NOT_FOUND naming the folder and what there is instead; DATA_LOSS those of PlanResume.
absl::StatusOr<LoadSource> FindLoadSource(Storage& storage, const proto::RunConfig& config,
                                          const std::filesystem::path& working_folder);

// Whether a run of `identity` goes on from the first candidate that can be read, as far as that
// says what it is of; the order of its samples does. Errors: those of WantedRunState and
// ContinueSamples.
absl::Status CheckLoadSource(Storage& storage, const proto::LoadCheckpoint& settings,
                             const LoadSource& source, const RunIdentity& identity);

// The last checkpoint that a run below `logging_folder` left in its own folder, of the newest run
// that left one.
struct LatestCheckpoint {
  std::filesystem::path folder;
  int64_t iteration = 0;
};
std::optional<LatestCheckpoint> FindLatest(Storage& storage,
                                           const std::filesystem::path& logging_folder);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_LOAD_SOURCE_H_
