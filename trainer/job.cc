#include "hetero/trainer/job.h"

#include <utility>

#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/step/stage_feed.h"

namespace hetero {
absl::StatusOr<Job> MakeJob(const RunOptions& options, const ModelRegistry& models) {
  Job job;
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(options.config, models)));
  job.notes = options.notes;
  for (std::string& change : ChangesOf(options.config)) job.notes.push_back(std::move(change));
  job.config = Resolve(options.config);
  job.sizes = SizesOf(job.config);
  HETERO_ASSIGN_OR_RETURN(job.model, models.Make(job.config.model(), StorageOf(job.config)));
  job.limits = LimitsOf(job.config, ContractOf(job.model->graph()));
  HETERO_ASSIGN_OR_RETURN(job.layout, Layout::Make(GridSpecs(job.config), job.sizes.world_size));
  const ScheduleOptions schedule = ScheduleOf(job.config);
  HETERO_ASSIGN_OR_RETURN(job.train,
                          MakePlan(*job.layout, *job.model, job.config.micro_batch_size(),
                                   job.config.global_batch_size(), schedule));
  if (job.config.has_evaluation()) {
    absl::StatusOr<StepPlan> evaluate =
        MakePlan(*job.layout, *job.model, job.config.evaluation().micro_batch_size(),
                 job.config.evaluation().global_batch_size(), schedule);
    HETERO_RETURN_IF_ERROR(evaluate.status()).With("evaluation");
    job.evaluate = *std::move(evaluate);
  }
  job.work = FindWorkClasses(*job.layout, job.train);
  HETERO_ASSIGN_OR_RETURN(job.optimizer, MakeOptimizerSettings(job.config));
  job.profile = options.profile;
  return job;
}

Device ShapeOnlyDevice(const Job& job) {
  return {.kind = DeviceKind::kShapeOnly,
          .predicts =
              job.config.device() == proto::RunConfig::CUDA ? DeviceKind::kCuda : DeviceKind::kCpu};
}

EngineOptions MakeEngineOptions(const Job& job, GlobalRank rank, Device device,
                                CommunicatorFactory& factory, const ShapeContents& contents) {
  EngineOptions options{.layout = *job.layout,
                        .model = *job.model,
                        .train = job.train,
                        .evaluate = job.evaluate.has_value() ? &*job.evaluate : nullptr,
                        .rank = rank,
                        .device = device,
                        .seed = job.config.seed(),
                        .factory = factory};
  options.make_feed = [&job, rank, contents](const StepPlan& plan, int stage, Split split,
                                             Device device,
                                             MemoryLedger& ledger) -> absl::StatusOr<BatchFeed> {
    BatchFeedOptions feed =
        StageFeed(*job.layout, job.model->graph(), plan, stage, rank, job.config.sequence_length());
    feed.pad_token_id = job.config.data().pad_token_id();
    feed.limits = contents.limits != nullptr ? *contents.limits : job.limits;
    feed.device = device;
    if (device.kind != DeviceKind::kShapeOnly || contents.counted) {
      feed.samples = split == Split::kTrain ? job.samples->train : *job.samples->evaluation;
    }
    return BatchFeed::Create(feed, ledger);
  };
  return options;
}

}  // namespace hetero
