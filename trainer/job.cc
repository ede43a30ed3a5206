#include "hetero/trainer/job.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/config/batch_schedule.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/step/stage_feed.h"

namespace hetero {
namespace {

// One for each size of its steps.
absl::Status PlanTraining(const ScheduleOptions& schedule, Job& job) {
  const data::BatchSchedule batches = BatchScheduleOf(job.config);
  std::vector<StepPlan> plans;
  for (const data::BatchSchedule::Phase& phase : batches.phases()) {
    HETERO_ASSIGN_OR_RETURN(StepPlan plan,
                            MakePlan(*job.layout, *job.model, job.config.micro_batch_size(),
                                     phase.batch_size, schedule));
    plans.push_back(std::move(plan));
  }
  job.train = std::move(plans.back());
  plans.pop_back();
  job.smaller = std::move(plans);
  job.train.batch.schedule = batches;
  // All steps run in the same slots.
  for (const StepPlan& plan : job.smaller) {
    for (size_t s = 0; s < plan.stages.size(); ++s) {
      PlanStage& stage = job.train.stages[s];
      stage.num_slots = std::max(stage.num_slots, plan.stages[s].num_slots);
    }
  }
  return absl::OkStatus();
}

}  // namespace

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
  HETERO_RETURN_IF_ERROR(PlanTraining(schedule, job));
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
  job.walk_step = options.walk.step;
  return job;
}

std::string DescribeBatches(const Job& job) {
  std::vector<std::string> lines;
  for (const StepPlan& plan : job.smaller) lines.push_back(plan.DescribeBatch());
  lines.push_back(job.train.DescribeBatch());
  const std::span<const data::BatchSchedule::Phase> phases = job.train.batch.schedule->phases();
  for (size_t i = 1; i < lines.size(); ++i) {
    lines[i] = absl::StrCat("from sample ", phases[i].first_sample, " on ", lines[i]);
  }
  return absl::StrJoin(lines, "; ");
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
                        .smaller = job.smaller,
                        .evaluate = job.evaluate.has_value() ? &*job.evaluate : nullptr,
                        .rank = rank,
                        .device = device,
                        .seed = job.config.seed(),
                        .factory = factory};
  options.make_feed = [&job, rank, contents](const StepPlan& plan, int stage, Split split,
                                             Device device,
                                             MemoryLedger& ledger) -> absl::StatusOr<BatchFeed> {
    BatchFeedOptions feed =
        StageFeed(*job.layout, *job.model, plan, stage, rank, job.config.sequence_length());
    feed.pad_token_id = job.config.data().pad_token_id();
    feed.limits = contents.limits != nullptr ? *contents.limits : job.limits;
    feed.device = device;
    feed.loader_timeout = absl::Seconds(job.config.data().loader_timeout_seconds());
    if (device.kind != DeviceKind::kShapeOnly || contents.counted) {
      feed.samples = split == Split::kTrain ? job.samples->train : *job.samples->evaluation;
    }
    return BatchFeed::Create(feed, ledger);
  };
  return options;
}

int64_t NumLanes(const Job& job) {
  return job.layout->Find(job.model->graph().SampleOwner().name)->num_lanes();
}

}  // namespace hetero
