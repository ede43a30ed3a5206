#include "hetero/trainer/job.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/row_plan.h"
#include "hetero/tensor/gpus.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/token_owner.h"

namespace hetero {
namespace {

// Of the tokens where rows of edges arrive: those of the module that owns the samples.
std::optional<TokenOwner> TokenOwnerOf(const Job& job, GlobalRank rank, const StepPlan& plan) {
  const Grid& grid = *job.layout->Find(plan.sample_owner);
  if (!grid.Contains(rank)) return std::nullopt;
  const int64_t lane_samples = plan.batch.samples_per_microbatch / grid.num_lanes();
  return TokenOwner{.samples = {grid.LaneOf(rank).value() * lane_samples, lane_samples},
                    .row_length = job.config.sequence_length(),
                    .rank = grid.Coord(rank, Axis::kTp),
                    .size = grid.Size(Axis::kTp)};
}

BatchFeedOptions FeedOptionsOf(const Job& job, GlobalRank rank, const StepPlan& plan, int stage) {
  const PlanStage& plan_stage = plan.stages[stage];
  const Grid& grid = *job.layout->Find(plan_stage.module);
  const ModelGraph& graph = job.model->graph();
  const GraphModule& module = graph.Module(plan_stage.module);
  BatchFeedOptions feed{.reads_tokens = module.owns_samples,
                        .reads = module.modalities,
                        .reads_features = plan_stage.place.first(),
                        .modalities = graph.modalities,
                        .position = {grid.LaneOf(rank).value(), grid.num_lanes()},
                        .token_owner = TokenOwnerOf(job, rank, plan),
                        .batch = plan.batch,
                        .sequence_length = job.config.sequence_length(),
                        .vocabulary_size = graph.vocabulary_size,
                        .pad_token_id = job.config.data().pad_token_id(),
                        .num_slots = plan_stage.num_slots,
                        .storage = module.storage,
                        .limits = job.limits};
  for (const GraphEdge& edge : graph.edges) {
    if (edge.destination == module.name) feed.edges.push_back(edge.modality);
  }
  const int64_t num_samples = plan.batch.samples_per_microbatch;
  for (const std::vector<int>* edges : {&plan_stage.in_edges, &plan_stage.out_edges}) {
    for (const int edge : *edges) {
      const LaneBlock block = plan.BlockOf(*job.layout, edge, stage, rank);
      feed.counted.push_back({block.FirstSample(num_samples), block.NumSamples(num_samples)});
    }
  }
  return feed;
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

absl::StatusOr<std::vector<Device>> ChooseDevices(const Job& job) {
  std::vector<Device> devices(job.layout->world_size());
  if (job.config.device() == proto::RunConfig::CPU) return devices;
  const absl::StatusOr<int> num_gpus = CountGpus();
  HETERO_RETURN_IF_ERROR(num_gpus).With("device CUDA");
  const bool shared = *num_gpus < job.layout->world_size();
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    devices[rank] = {.kind = DeviceKind::kCuda, .ordinal = shared ? 0 : static_cast<int>(rank)};
  }
  return devices;
}

RankBackend ChooseBackend(std::span<const Device> devices) {
  const bool one_each = devices.size() > 1 && devices[0].kind == DeviceKind::kCuda &&
                        devices[1].ordinal != devices[0].ordinal;
  return one_each ? RankBackend::kNccl : RankBackend::kThreads;
}

EngineOptions MakeEngineOptions(const Job& job, GlobalRank rank, Device device,
                                CommunicatorFactory& factory) {
  EngineOptions options{.layout = *job.layout,
                        .model = *job.model,
                        .train = job.train,
                        .evaluate = job.evaluate.has_value() ? &*job.evaluate : nullptr,
                        .rank = rank,
                        .device = device,
                        .seed = job.config.seed(),
                        .factory = factory};
  options.make_feed = [&job, rank](const StepPlan& plan, int stage, Split split, Device device,
                                   MemoryLedger& ledger) -> absl::StatusOr<BatchFeed> {
    BatchFeedOptions feed = FeedOptionsOf(job, rank, plan, stage);
    feed.device = device;
    if (device.kind != DeviceKind::kShapeOnly) {
      feed.samples = split == Split::kTrain ? job.samples->train : *job.samples->evaluation;
    }
    return BatchFeed::Create(feed, ledger);
  };
  return options;
}

}  // namespace hetero
