#include "hetero/trainer/run_output.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/media_shares.h"
#include "hetero/trainer/replay/capsule_writer.h"
#include "hetero/trainer/report/loss_watch.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/report/metrics_writer.h"
#include "hetero/trainer/report/progress_log.h"
#include "hetero/trainer/report/spike_report.h"
#include "hetero/trainer/report/step_samples.h"
#include "hetero/trainer/report/step_work.h"
#include "hetero/trainer/run_files.h"
#include "hetero/trainer/step/stage_feed.h"
#include "hetero/trainer/version/version.h"

namespace hetero {
namespace {

// Of the modules that train.
std::vector<NamedValue> LearningRateScales(const Job& job) {
  std::vector<NamedValue> scales;
  for (const std::string& module : job.model->graph().ModuleNames()) {
    const bool trains = std::ranges::any_of(job.train.stages, [&](const PlanStage& stage) {
      return stage.module == module && stage.trains;
    });
    if (trains) scales.push_back({module, job.optimizer->modules.at(module).learning_rate_scale});
  }
  return scales;
}

// Null where images are not shared out.
absl::StatusOr<std::unique_ptr<MediaShares>> SharesOf(const Job& job) {
  std::optional<BalancedMedia> balanced = BalanceOf(*job.layout, *job.model, job.train);
  if (!balanced.has_value()) return nullptr;
  BatchFeedOptions options = {.modalities = job.model->graph().modalities,
                              .balanced = std::move(balanced),
                              .batch = job.train.batch,
                              .sequence_length = job.config.sequence_length(),
                              .limits = job.limits,
                              .samples = job.samples->train};
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, options.samples->open());
  return std::make_unique<MediaShares>(std::make_shared<const BatchFeedOptions>(std::move(options)),
                                       std::move(source), /*num_kept=*/1);
}

absl::StatusOr<WorkCount> CountWork(const Job& job) {
  WorkCount work;
  HETERO_ASSIGN_OR_RETURN(work.shares, SharesOf(job));
  const proto::Logging& logging = job.config.logging();
  const bool on_gpus = job.config.device() == proto::RunConfig::CUDA;
  if (!(logging.has_throughput() ? logging.throughput() : on_gpus)) return work;
  work.owner = job.model->graph().SampleOwner().name;
  work.owner_ranks = job.layout->Find(work.owner)->num_ranks();
  work.all_ranks = job.layout->world_size();
  HETERO_ASSIGN_OR_RETURN(work.counter, StepWorkCounter::Create(*job.model, job.samples->train,
                                                                job.config.sequence_length(),
                                                                *job.train.batch.schedule));
  return work;
}

absl::StatusOr<std::unique_ptr<SpikeReport>> WatchSpikes(const Job& job, std::string folder) {
  constexpr double kFactor = 2;
  constexpr int64_t kWindowSteps = 50;
  const proto::SpikeGuard& guard = job.config.spike_guard();
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<StepSamples> samples,
                          StepSamples::Create(job.samples->train, job.train.batch, NumLanes(job)));
  const LossWatch watch(guard.has_window_steps() ? guard.window_steps() : kWindowSteps,
                        guard.has_factor() ? guard.factor() : kFactor);
  return std::make_unique<SpikeReport>(watch, std::move(samples), std::move(folder));
}

// Null for a run that saves nothing or does not count its work.
std::unique_ptr<ProgressLog> MakeProgress(const Job& job, const WorkCount& work,
                                          const RunCheckpoints* checkpoints) {
  if (work.counter == nullptr || checkpoints == nullptr || checkpoints->save_folder.empty()) {
    return nullptr;
  }
  return std::make_unique<ProgressLog>(
      ProgressLog::Options{.folder = checkpoints->save_folder,
                           .job = checkpoints->run_folder.filename().native(),
                           .num_ranks = job.layout->world_size(),
                           .counted_ranks = work.owner_ranks,
                           .sequence_length = job.config.sequence_length()});
}

// Null where none are wanted.
std::unique_ptr<CapsuleWriter> MakeCapsules(const RunOptions& options, const Job& job,
                                            const std::filesystem::path& run_folder) {
  constexpr int64_t kMaxCapsules = 4;
  const proto::SpikeGuard& guard = job.config.spike_guard();
  const int64_t max_capsules = guard.has_max_capsules() ? guard.max_capsules() : kMaxCapsules;
  if (max_capsules == 0) return nullptr;
  return std::make_unique<CapsuleWriter>(
      CapsuleWriter::Options{.run_folder = run_folder,
                             .config = job.config,
                             .working_folder = options.working_folder.native(),
                             .program = ProgramName(),
                             .batches = *job.train.batch.schedule,
                             .saves_are_whole = !job.config.checkpoint().save().skip_optimizer(),
                             .max_capsules = max_capsules});
}

}  // namespace

absl::StatusOr<RunOutput> OpenOutput(const RunOptions& options, const Job& job, Team& team,
                                     RunCheckpoints* checkpoints, Console& console) {
  RunOutput output;
  std::unique_ptr<MetricsWriter> events;
  if (team.logs()) {
    HETERO_ASSIGN_OR_RETURN(RunFolder folder, OpenRunFolder(options, job.config, console));
    output.folder.emplace(std::move(folder));
    const std::string path = output.folder->path().native();
    console.Print(absl::StrCat("output: ", path));
    HETERO_RETURN_IF_ERROR(console.status());
    HETERO_ASSIGN_OR_RETURN(events, MetricsWriter::Create(path, job.layout->world_size()));
    HETERO_RETURN_IF_ERROR(events->Flush());
  }
  HETERO_ASSIGN_OR_RETURN(
      const std::filesystem::path folder,
      team.OfLogging("output folder",
                     output.folder.has_value() ? output.folder->path().native() : ""));
  output.path = folder;
  if (checkpoints != nullptr) {
    HETERO_RETURN_IF_ERROR(
        OpenFolders(options.working_folder, folder, team.IsHere(GlobalRank(0)), *checkpoints));
  }
  if (!team.logs()) return output;
  HETERO_RETURN_IF_ERROR(console.log_status());
  output.folder->Keep();
  HETERO_ASSIGN_OR_RETURN(WorkCount work, CountWork(job));
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<SpikeReport> spikes,
                          WatchSpikes(job, output.path.native()));
  std::unique_ptr<ProgressLog> progress = MakeProgress(job, work, checkpoints);
  output.reporter = std::make_unique<Reporter>(
      job.config, job.model->graph().metrics, LearningRateScales(job), job.sizes.train_steps,
      options.on_step, console, std::move(events), std::move(work), std::move(spikes),
      MakeCapsules(options, job, output.path), std::move(progress));
  return output;
}

}  // namespace hetero
