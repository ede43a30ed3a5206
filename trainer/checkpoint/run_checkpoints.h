#ifndef HETERO_TRAINER_CHECKPOINT_RUN_CHECKPOINTS_H_
#define HETERO_TRAINER_CHECKPOINT_RUN_CHECKPOINTS_H_

// What the ranks of a run share of its checkpoints: where they come from and where they go.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/publish/publisher.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/checkpoint/load_source.h"
#include "hetero/trainer/checkpoint/run_state.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/run_config.pb.h"
#include "nlohmann/json.hpp"

namespace hetero {

// Ranks only read it, but for what says otherwise.
struct RunCheckpoints {
  PosixStorage storage;
  std::filesystem::path run_folder;   // of OpenFolders
  std::filesystem::path save_folder;  // likewise; empty: nothing is saved
  proto::Checkpoint settings;
  RunIdentity identity;
  nlohmann::json grids;                  // for manifests
  std::optional<LoadSource> source;      // unset: the run begins with new weights
  std::unique_ptr<Publisher> publisher;  // null: nothing is saved; the first rank's
};

// Finds what `config`, which is resolved and has a checkpoint message, begins with.
// Errors: those of FindLoadSource and CheckLoadSource.
absl::StatusOr<std::unique_ptr<RunCheckpoints>> FindCheckpoints(
    const proto::RunConfig& config, const Layout& layout, const RunSamples& samples,
    const std::filesystem::path& working_folder);

// Sets the run's own folder and, in the process of the rank that publishes, takes the one where it
// saves, if it does: checkpoint.save.folder or one in `run_folder`. Errors: FAILED_PRECONDITION,
// with exit code kFolderInUse, naming the run that saves there or the other model; those of the
// storage.
absl::Status OpenFolders(const std::filesystem::path& working_folder,
                         const std::filesystem::path& run_folder, bool publishes,
                         RunCheckpoints& checkpoints);

// "runs/x/2026-11-29_01-02-03/checkpoints has iteration 400; --load=latest goes on from there,
// this run starts anew": of a run that saves in its own folder and was told nothing of an earlier
// one. Empty where there is none.
std::string DescribeEarlierRun(const proto::RunConfig& config,
                               const std::filesystem::path& working_folder, Storage& storage);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_RUN_CHECKPOINTS_H_
