#include "hetero/trainer/checkpoint/load_source.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/publisher.h"
#include "hetero/ckpt/publish/tracker.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReader = "a run that loads it";

bool HoldsCheckpoints(Storage& storage, const fs::path& folder) {
  if (storage.Exists(folder / kTrackerName)) return true;
  const absl::StatusOr<std::vector<std::string>> names = storage.List(folder);
  return names.ok() && std::ranges::any_of(*names, [](const std::string& name) {
           return ParseIterationName(name).has_value();
         });
}

// A folder of checkpoints, and the one in it that was named itself.
struct Named {
  fs::path folder;
  std::optional<int64_t> iteration = std::nullopt;
};

// What "latest" means; nothing where no run has left any.
std::optional<Named> FindLatestOf(Storage& storage, const proto::RunConfig& config,
                                  const fs::path& working_folder) {
  const proto::SaveCheckpoints& save = config.checkpoint().save();
  if (save.has_folder()) {
    const fs::path folder = working_folder / save.folder();
    if (!HoldsCheckpoints(storage, folder)) return std::nullopt;
    return Named{.folder = folder};
  }
  std::optional<LatestCheckpoint> latest =
      FindLatest(storage, working_folder / config.logging().folder());
  if (!latest.has_value()) return std::nullopt;
  return Named{.folder = std::move(latest->folder)};
}

Named Interpret(Storage& storage, const fs::path& path) {
  fs::path folder = path;
  if (!folder.has_filename()) folder = folder.parent_path();
  const std::optional<int64_t> iteration = ParseIterationName(folder.filename().native());
  if (iteration.has_value() && KindOfCheckpoint(storage, folder) != CheckpointKind::kNone) {
    return {.folder = folder.parent_path(), .iteration = iteration};
  }
  if (!HoldsCheckpoints(storage, folder) &&
      HoldsCheckpoints(storage, folder / kCheckpointsFolder)) {
    folder /= kCheckpointsFolder;
  }
  return {.folder = folder};
}

absl::Status NoSuchIteration(Storage& storage, const fs::path& folder, int64_t iteration) {
  const absl::StatusOr<std::vector<int64_t>> published = PublishedIterations(storage, folder);
  const std::string others = published.ok() && !published->empty()
                                 ? absl::StrCat("; there are ", absl::StrJoin(*published, ", "))
                                 : ", nor any other";
  return absl::NotFoundError(absl::StrCat("checkpoint.load: ", folder.native(),
                                          " has no checkpoint of iteration ", iteration, others));
}

}  // namespace

std::optional<LatestCheckpoint> FindLatest(Storage& storage, const fs::path& logging_folder) {
  absl::StatusOr<std::vector<std::string>> runs = storage.List(logging_folder);
  if (!runs.ok()) return std::nullopt;
  // Names are times.
  std::ranges::reverse(*runs);
  for (const std::string& run : *runs) {
    fs::path folder = logging_folder / run / kCheckpointsFolder;
    const absl::StatusOr<Tracker> tracker = ReadTracker(storage, folder);
    if (!tracker.ok() || tracker->kind != Tracker::Kind::kIteration) continue;
    return LatestCheckpoint{.folder = std::move(folder), .iteration = tracker->iteration};
  }
  return std::nullopt;
}

absl::StatusOr<LoadSource> FindLoadSource(Storage& storage, const proto::RunConfig& config,
                                          const fs::path& working_folder) {
  constexpr std::string_view kField = "checkpoint.load";
  const proto::LoadCheckpoint& load = config.checkpoint().load();
  std::optional<Named> named;
  if (load.folder() == kLatest) {
    named = FindLatestOf(storage, config, working_folder);
    if (!named.has_value() && !load.allow_fresh_start()) {
      return absl::NotFoundError(absl::StrCat(
          kField, ".folder is latest, and no run below ", config.logging().folder(),
          " has left a checkpoint; name a folder, or set checkpoint.load.allow_fresh_start=true"));
    }
    if (!named.has_value()) return LoadSource{};
  } else {
    named = Interpret(storage, working_folder / load.folder());
  }
  LoadSource source{.folder = std::move(named->folder)};
  ResumeOptions options{.iteration = named->iteration,
                        .max_fallbacks = load.max_fallbacks(),
                        .allow_fresh_start = load.allow_fresh_start()};
  if (load.has_iteration()) options.iteration = load.iteration();
  if (options.iteration.has_value() &&
      !storage.IsDirectory(source.folder / IterationName(*options.iteration))) {
    return NoSuchIteration(storage, source.folder, *options.iteration);
  }
  absl::StatusOr<Tracker> tracker = ReadTracker(storage, source.folder);
  HETERO_RETURN_IF_ERROR(tracker.status()).With(kField);
  absl::StatusOr<ResumePlan> plan = PlanResume(storage, source.folder, *tracker, options);
  HETERO_RETURN_IF_ERROR(plan.status()).With(kField);
  source.plan = *std::move(plan);
  for (const std::string& name : source.plan.candidates) {
    absl::StatusOr<std::unique_ptr<ReaderLease>> lease =
        ReaderLease::Acquire(storage, source.folder, name, {.run_id = std::string(kReader)});
    // One that is gone is passed over like one that is damaged.
    if (absl::IsNotFound(lease.status())) continue;
    HETERO_RETURN_IF_ERROR(lease.status()).With(kField);
    source.leases.push_back(*std::move(lease));
  }
  return source;
}

absl::Status CheckLoadSource(Storage& storage, const proto::LoadCheckpoint& settings,
                             const LoadSource& source, const RunIdentity& identity) {
  for (const std::string& name : source.plan.candidates) {
    // What cannot be read is passed over, or not, by whoever loads.
    const absl::StatusOr<std::string> text = ReadCommittedManifest(storage, source.folder / name);
    if (!text.ok()) continue;
    const absl::StatusOr<Manifest> manifest = ParseManifest(*text);
    if (!manifest.ok()) continue;
    HETERO_ASSIGN_OR_RETURN(const RunState state,
                            WantedRunState(settings, manifest->state, identity));
    const absl::Status continued = ContinueSamples(manifest->state, state, identity);
    if (absl::IsDataLoss(continued)) continue;
    return continued;
  }
  return absl::OkStatus();
}

}  // namespace hetero
