#include "hetero/trainer/checkpoint/run_checkpoints.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/axis.h"
#include "hetero/trainer/checkpoint/architecture.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

nlohmann::json GridsOf(const Layout& layout) {
  nlohmann::json grids = nlohmann::json::object();
  for (const Grid& grid : layout.grids()) {
    grids[std::string(grid.name())] = {
        {"offset", grid.first_rank().value()}, {"tp", grid.Size(Axis::kTp)},
        {"cp", grid.Size(Axis::kCp)},          {"dp", grid.Size(Axis::kDp)},
        {"pp", grid.Size(Axis::kPp)},          {"ep", grid.Size(Axis::kEp)},
        {"expt_tp", grid.Size(Axis::kExptTp)}, {"expt_dp", grid.Size(Axis::kExptDp)}};
  }
  return grids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunCheckpoints>> FindCheckpoints(const proto::RunConfig& config,
                                                                const Layout& layout,
                                                                const RunSamples& samples,
                                                                const fs::path& working_folder) {
  auto checkpoints = std::make_unique<RunCheckpoints>();
  checkpoints->settings = config.checkpoint();
  checkpoints->identity = IdentityOf(config, samples.train.order.num_samples());
  checkpoints->identity.lane_order = samples.lane_order;
  checkpoints->grids = GridsOf(layout);
  if (config.checkpoint().has_load()) {
    HETERO_ASSIGN_OR_RETURN(checkpoints->source,
                            FindLoadSource(checkpoints->storage, config, working_folder));
    HETERO_RETURN_IF_ERROR(CheckLoadSource(checkpoints->storage, config.checkpoint().load(),
                                           *checkpoints->source, checkpoints->identity))
        .With("checkpoint.load");
  }
  return checkpoints;
}

absl::Status OpenFolders(const fs::path& working_folder, const fs::path& run_folder, bool publishes,
                         RunCheckpoints& checkpoints) {
  checkpoints.run_folder = run_folder;
  if (!checkpoints.settings.has_save()) return absl::OkStatus();
  const proto::SaveCheckpoints& save = checkpoints.settings.save();
  const fs::path folder =
      save.has_folder() ? working_folder / save.folder() : run_folder / kCheckpointsFolder;
  checkpoints.save_folder = folder;
  if (!publishes) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Publisher>> publisher = Publisher::Open(
      checkpoints.storage, folder,
      {.lease = {.run_id = run_folder.native()},
       .retention = {.keep_last = save.keep_last(), .keep_every = save.keep_every()},
       .model = ArchitectureId(checkpoints.identity.architecture),
       .adopt = save.adopt()});
  if (absl::IsFailedPrecondition(publisher.status())) {
    return WithExitCode(Annotate(publisher.status(), "checkpoint.save"), ExitCode::kFolderInUse);
  }
  HETERO_RETURN_IF_ERROR(publisher.status()).With("checkpoint.save");
  checkpoints.publisher = *std::move(publisher);
  return absl::OkStatus();
}

std::string DescribeEarlierRun(const proto::RunConfig& config, const fs::path& working_folder,
                               Storage& storage) {
  const proto::Checkpoint& checkpoint = config.checkpoint();
  if (!checkpoint.has_save() || checkpoint.save().has_folder() || checkpoint.has_load()) return "";
  const std::optional<LatestCheckpoint> latest =
      FindLatest(storage, working_folder / config.logging().folder());
  if (!latest.has_value()) return "";
  return absl::StrCat(latest->folder.lexically_proximate(working_folder).native(),
                      " has iteration ", latest->iteration,
                      "; --load=latest goes on from there, this run starts anew");
}

}  // namespace hetero
