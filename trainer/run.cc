#include "hetero/trainer/run.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/base/violation.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/layout.h"
#include "hetero/telemetry/chrome_trace.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/optimizer_settings.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/memory_limit.h"
#include "hetero/trainer/report/dry_run.h"
#include "hetero/trainer/report/metrics_writer.h"
#include "hetero/trainer/report/output_check.h"
#include "hetero/trainer/report/picture.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/report/start_up.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/step/step_clock.h"
#include "hetero/trainer/step/work_classes.h"

namespace hetero {
namespace {

// Of a rank: about 25 MB, and a thousand steps of a long pipeline.
constexpr int64_t kMaxSpans = 100'000;

// What every rank of the run shares and none changes.
struct Job {
  proto::RunConfig config;
  std::vector<std::string> notes;  // where the run differs from what was configured
  RunSizes sizes;
  std::unique_ptr<Model> model;
  std::optional<Layout> layout;
  StepPlan train;
  std::optional<StepPlan> evaluate;
  WorkClasses work;
  SampleLimits limits;
  std::optional<RunSamples> samples;  // unset in a dry run
  std::vector<Device> devices;        // by rank; empty in a dry run
  std::optional<OptimizerSettings> optimizer;
  bool profile = false;
};

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

// With as many GPUs as ranks each has its own, with fewer all share the first.
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

// Ranks with a GPU each speak over NCCL, ranks that share one through its memory.
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
    const PlanStage& plan_stage = plan.stages[stage];
    const Grid& grid = *job.layout->Find(plan_stage.module);
    const ModelGraph& graph = job.model->graph();
    const GraphModule& module = graph.Module(plan_stage.module);
    BatchFeedOptions feed{.reads_tokens = module.owns_samples,
                          .reads = module.modalities,
                          .reads_features = plan_stage.place.first(),
                          .modalities = graph.modalities,
                          .position = {grid.LaneOf(rank).value(), grid.num_lanes()},
                          .batch = plan.batch,
                          .sequence_length = job.config.sequence_length(),
                          .vocabulary_size = graph.vocabulary_size,
                          .pad_token_id = job.config.data().pad_token_id(),
                          .num_slots = plan_stage.num_slots,
                          .device = device,
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
    if (device.kind != DeviceKind::kShapeOnly) {
      feed.samples = split == Split::kTrain ? job.samples->train : *job.samples->evaluation;
    }
    return BatchFeed::Create(feed, ledger);
  };
  return options;
}

// What a step of `rank` will take, found by running it without data.
struct Prediction {
  EngineMemory arenas;
  MemoryLedger memory;
  CallLedger calls;  // of one training step
};

// Of one rank, far beyond any machine's. A prediction above it has lost its meaning.
constexpr int64_t kMaxRankBytes = int64_t{1} << 44;

absl::StatusOr<Prediction> RunOnShapes(const Job& job, GlobalRank rank,
                                       const StopSignals& signals) {
  const std::unique_ptr<CommunicatorFactory> factory =
      LoopbackFactory(rank, job.layout->world_size());
  const Device device = {.kind = DeviceKind::kShapeOnly,
                         .predicts = job.config.device() == proto::RunConfig::CUDA
                                         ? DeviceKind::kCuda
                                         : DeviceKind::kCpu};
  EngineOptions options = MakeEngineOptions(job, rank, device, *factory);
  options.stop_requested = [&signals] { return signals.requested() != 0; };
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  Engine& engine = trainer->engine();
  engine.stream().ledger().RecordCollectives(true);
  HETERO_RETURN_IF_ERROR(trainer->Queue(0)).With("prediction");
  Prediction prediction{.calls = engine.stream().ledger()};
  if (job.evaluate.has_value()) {
    const auto goes_on = [] { return false; };
    HETERO_RETURN_IF_ERROR(trainer->Evaluate(1, goes_on)).With("prediction");
  }
  prediction.arenas = engine.PeakMemory();
  for (const int64_t bytes : prediction.arenas.activation_bytes) {
    if (bytes <= kMaxRankBytes) continue;
    return absl::ResourceExhaustedError(absl::StrCat(bytes, " bytes of activations a microbatch"));
  }
  prediction.memory = engine.PredictedMemory();
  return prediction;
}

// Errors: INVALID_ARGUMENT when the configuration asks for more memory than there can be.
absl::StatusOr<Prediction> Predict(const Job& job, GlobalRank rank, const StopSignals& signals) {
  absl::StatusOr<Prediction> prediction = RunOnShapes(job, rank, signals);
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " of this configuration has no room anywhere: ", why,
                     "; lower micro_batch_size, sequence_length or the model's sizes"));
  };
  if (absl::IsResourceExhausted(prediction.status())) {
    return refuse(prediction.status().message());
  }
  HETERO_RETURN_IF_ERROR(prediction.status());
  if (prediction->memory.total_bytes() <= kMaxRankBytes) return prediction;
  return refuse(
      absl::StrCat(prediction->memory.ToString(), ", at most ", kMaxRankBytes >> 20, " MiB"));
}

// Of one rank of every class of Job::work.
absl::StatusOr<std::vector<Prediction>> PredictClasses(const Job& job, const StopSignals& signals) {
  std::vector<Prediction> predictions;
  for (const WorkClass& ranks : job.work.classes) {
    HETERO_ASSIGN_OR_RETURN(Prediction prediction, Predict(job, ranks.first_rank, signals));
    predictions.push_back(std::move(prediction));
  }
  return predictions;
}

// Errors: also INVALID_ARGUMENT when ranks on the CPU need more memory together than the machine or
// the process's control group has.
absl::StatusOr<std::vector<Prediction>> PredictRun(const Job& job, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(std::vector<Prediction> predictions, PredictClasses(job, signals));
  int64_t needed = 0;
  for (size_t i = 0; i < predictions.size(); ++i) {
    needed += job.work.classes[i].num_ranks * predictions[i].memory.total_bytes();
  }
  const MemoryLimit limit = HostMemoryLimit();
  if (job.config.device() != proto::RunConfig::CPU || needed <= limit.bytes) return predictions;
  return absl::InvalidArgumentError(
      absl::StrCat("the ranks of this run need ", needed >> 20, " MiB of memory together, ",
                   limit.what, " ", limit.bytes >> 20,
                   " MiB; lower micro_batch_size, sequence_length or the model's sizes, and see "
                   "--dry_run"));
}

// What a rank leaves behind.
struct RankRecord {
  RankProfile profile;
  std::optional<SpanBuffer> spans;  // set when a trace is wanted
};

// All steps and evaluations of a rank. `reporter` is null on all ranks but the one that logs.
absl::Status RunSteps(const Job& job, RankTrainer& trainer, const CallLedger& predicted,
                      const StopSignals& signals, Reporter* reporter, RankRecord& record) {
  Engine& engine = trainer.engine();
  const proto::Evaluation& evaluation = job.config.evaluation();
  const auto stop_requested = [&signals] { return signals.requested() != 0; };
  bool stopped = false;
  const auto evaluate = [&](int64_t iteration) -> absl::Status {
    absl::StatusOr<std::optional<EvaluationResult>> result =
        trainer.Evaluate(evaluation.num_batches(), stop_requested);
    HETERO_RETURN_IF_ERROR(result.status()).With("evaluation");
    stopped = !result->has_value();
    if (reporter != nullptr && !stopped) reporter->Evaluation(iteration, **result);
    return absl::OkStatus();
  };

  Stream& stream = engine.stream();
  const bool on_gpu = stream.device().kind == DeviceKind::kCuda;
  HETERO_ASSIGN_OR_RETURN(StepClock clock,
                          StepClock::Create(stream.device(), job.profile && on_gpu));
  TrainingAccount account;
  account.Start(stream.ledger());
  HETERO_RETURN_IF_ERROR(clock.Start(stream));
  int64_t queued = 0;
  int64_t reported = 0;
  StepTally tally;
  const auto ends_early = [&] {
    return stopped || tally.not_finite_in_a_row() >= job.config.divergence_steps();
  };
  const auto report_until = [&](int64_t step) -> absl::Status {
    for (; reported < step; ++reported) {
      HETERO_ASSIGN_OR_RETURN(const StepResult result, trainer.Result());
      tally.Add(result.report.outcome, result.minimized);
      HETERO_ASSIGN_OR_RETURN(const absl::Duration elapsed, clock.Elapsed());
      if (reporter != nullptr) {
        const int64_t consumed = trainer.optimizer().progress().consumed_samples;
        reporter->Step(reported, result, trainer.schedule().At(consumed), elapsed);
      }
    }
    return absl::OkStatus();
  };
  // A GPU has the next step in its queue while the host waits for the last one.
  const int64_t ahead = on_gpu ? 1 : 0;
  std::optional<int64_t> evaluated_at;
  while (queued < job.sizes.train_steps && !ends_early()) {
    HETERO_ASSIGN_OR_RETURN(stopped, trainer.AnyStop(stop_requested()));
    if (stopped) break;
    clock.BeginStep(queued, job.sizes.train_steps, stream);
    HETERO_RETURN_IF_ERROR(trainer.Queue(queued));
    HETERO_RETURN_IF_ERROR(clock.EndStep(stream));
    if (queued == 0 && stream.ledger().collective_hash() != predicted.collective_hash()) {
      return absl::InternalError("the first step's collectives are not those of the dry run");
    }
    ++queued;
    HETERO_RETURN_IF_ERROR(report_until(queued - ahead));
    if (evaluation.has_interval_steps() && queued % evaluation.interval_steps() == 0 &&
        !ends_early()) {
      HETERO_RETURN_IF_ERROR(report_until(queued));
      if (ends_early()) break;
      account.Stop(stream.ledger());
      HETERO_RETURN_IF_ERROR(evaluate(queued));
      evaluated_at = queued;
      account.Start(stream.ledger());
      HETERO_RETURN_IF_ERROR(clock.Start(stream));
    }
  }
  HETERO_RETURN_IF_ERROR(report_until(queued));
  account.Stop(stream.ledger());
  if (std::optional<StepClock::Samples> samples = clock.samples()) {
    record.profile = {.num_steps = samples->num_steps,
                      .time = samples->time,
                      .operations = OperationsOf(samples->calls),
                      .num_untimed = samples->num_untimed};
  } else {
    record.profile = account.Profile(reported);
  }
  if (job.evaluate.has_value() && !ends_early() && evaluated_at != queued) {
    HETERO_RETURN_IF_ERROR(evaluate(queued));
  }
  if (reporter != nullptr) reporter->TrainingEnds(account.time(), tally, stopped);
  return absl::OkStatus();
}

absl::Status TrainRank(const Job& job, GlobalRank rank, const Prediction& prediction,
                       CommunicatorFactory& factory, const StopSignals& signals, Reporter* reporter,
                       RankRecord& record) {
  EngineOptions options = MakeEngineOptions(job, rank, job.devices[rank.value()], factory);
  options.memory = prediction.arenas;
  options.spans = record.spans.has_value() ? &*record.spans : nullptr;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  const MemoryLedger& allocated = trainer->engine().ledger();
  if (allocated != prediction.memory) {
    return absl::InternalError(absl::StrCat("allocated ", allocated.ToString(),
                                            "; the dry run said ", prediction.memory.ToString()));
  }
  return AbortOnFailure(rank, factory, [&] {
    return RunSteps(job, *trainer, prediction.calls, signals, reporter, record);
  });
}

// The run's own folder, with its configuration and what the console shows.
absl::StatusOr<RunFolder> OpenRunFolder(const RunOptions& options, const Job& job,
                                        Console& console) {
  HETERO_ASSIGN_OR_RETURN(
      RunFolder folder, RunFolder::Create(options.working_folder / job.config.logging().folder()));
  const std::filesystem::path config = folder.path() / kResolvedConfigFile;
  std::ofstream file(config);
  file << "# " << options.program << "\n" << ToText(job.config);
  file.close();
  if (!file) {
    return SystemError(errno != 0 ? errno : EIO,
                       absl::StrCat("cannot write file ", config.native()));
  }
  HETERO_RETURN_IF_ERROR(console.KeepLog(folder.path() / kConsoleLogFile));
  return folder;
}

// Nothing without RunOptions::picture.
absl::Status DrawPicture(const RunOptions& options, const Job& job, Console& console) {
  if (options.picture.empty()) return absl::OkStatus();
  const std::filesystem::path path = options.working_folder / options.picture;
  errno = 0;
  std::ofstream file(path);
  file << DrawLayout(*job.layout, job.train);
  file.close();
  if (!file) {
    return SystemError(errno != 0 ? errno : EIO, absl::StrCat("cannot write ", path.native()));
  }
  console.Print(absl::StrCat("picture: ", path.native()));
  return absl::OkStatus();
}

void PrintNotes(const Job& job, Console& console) {
  for (const std::string& note : job.notes) console.Print(note);
}

absl::Status DryRun(const Job& job, Console& console, const StopSignals& signals) {
  PrintNotes(job, console);
  console.Print(job.train.ToString());
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictClasses(job, signals));
  std::vector<ClassPrediction> classes;
  for (size_t i = 0; i < predictions.size(); ++i) {
    classes.push_back({.ranks = job.work.classes[i],
                       .memory = &predictions[i].memory,
                       .calls = &predictions[i].calls});
    console.Print(DescribePrediction(job.train, classes.back()));
  }
  console.Print(
      DescribeProof(job.train, job.evaluate.has_value() ? &*job.evaluate : nullptr, classes));
  return absl::OkStatus();
}

// Ranks of one module are shown together, colocated ones under their first module. `stuck` ranks
// still write their records.
absl::Status WriteTrace(const std::filesystem::path& path, const Layout& layout,
                        std::span<const RankRecord> records,
                        std::span<const GlobalRank> stuck = {}) {
  std::vector<TraceTrack> tracks;
  for (size_t r = 0; r < records.size(); ++r) {
    if (std::ranges::find(stuck, GlobalRank(static_cast<int64_t>(r))) != stuck.end()) continue;
    const auto rank = static_cast<int64_t>(r);
    const auto grid = std::ranges::find_if(layout.grids(), [&](const Grid& candidate) {
      return candidate.Contains(GlobalRank(rank));
    });
    tracks.push_back({.process_id = grid - layout.grids().begin(),
                      .process_name = grid->name(),
                      .thread_id = rank,
                      .thread_name = absl::StrCat("rank ", rank),
                      .spans = &*records[r].spans});
  }
  return WriteChromeTrace(path.native(), tracks);
}

absl::Status RunToItsEnd(const RunOptions& options, const ModelRegistry& models, Console& console,
                         const StopSignals& signals) {
  const absl::Time start = absl::Now();
  HETERO_ASSIGN_OR_RETURN(Job job, MakeJob(options, models));
  if (options.print_config) {
    console.Print(ToText(job.config));
    return absl::OkStatus();
  }
  if (!options.dry_run) {
    HETERO_RETURN_IF_ERROR(ViolationsError(ValidateThreads(job.config)));
  }
  HETERO_RETURN_IF_ERROR(DrawPicture(options, job, console)).With("--picture");
  if (options.dry_run) return DryRun(job, console, signals);
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictRun(job, signals));
  HETERO_ASSIGN_OR_RETURN(job.devices, ChooseDevices(job));
  const std::filesystem::path trace =
      options.trace.empty() ? std::filesystem::path() : options.working_folder / options.trace;
  HETERO_RETURN_IF_ERROR(
      CheckOutput(options.working_folder / job.config.logging().folder(), trace));
  PrintNotes(job, console);
  HETERO_RETURN_IF_ERROR(console.status());
  HETERO_ASSIGN_OR_RETURN(
      job.samples,
      PrepareSamples(job.config, ContractOf(job.model->graph()), options.working_folder,
                     {.stop_requested = [&] { return signals.requested() != 0; },
                      .message = [&](std::string_view line) { console.Print(line); }}));
  HETERO_RETURN_IF_ERROR(ViolationsError(ValidateSamples(job.config, *job.samples)));
  console.Print(DescribeStart(*job.layout, job.train.DescribeBatch(), job.devices,
                              job.model->graph().SampleOwner().storage, job.samples->description));
  HETERO_RETURN_IF_ERROR(console.status());
  if (job.devices[0].kind == DeviceKind::kCpu) {
    HETERO_RETURN_IF_ERROR(cpu::PrepareProducts());
  }
  HETERO_ASSIGN_OR_RETURN(RunFolder folder, OpenRunFolder(options, job, console));
  console.Print(absl::StrCat("output: ", folder.path().native()));
  HETERO_RETURN_IF_ERROR(console.status());
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<MetricsWriter> events,
                          MetricsWriter::Create(folder.path().native(), job.layout->world_size()));
  HETERO_RETURN_IF_ERROR(events->Flush());
  HETERO_RETURN_IF_ERROR(console.log_status());
  folder.Keep();
  Reporter reporter(job.config, job.model->graph().metrics, job.sizes.train_steps, options.on_step,
                    console, std::move(events));
  std::vector<RankRecord> records(job.layout->world_size());
  if (!options.trace.empty()) {
    for (RankRecord& record : records) record.spans.emplace(kMaxSpans);
  }
  // The last rank of the module that owns the samples knows everything and stands where logs are
  // looked for.
  const Grid& owner = *job.layout->Find(job.model->graph().SampleOwner().name);
  const GlobalRank logging(owner.first_rank().value() + owner.num_ranks() - 1);
  const auto leave = [&](const absl::Status& failure, std::span<const GlobalRank> stuck) {
    if (!trace.empty()) WriteTrace(trace, *job.layout, records, stuck).IgnoreError();
    options.on_stuck(failure);
  };
  const absl::Status trained = RunRanks(
      job.layout->world_size(),
      [&](GlobalRank rank, CommunicatorFactory& factory) {
        return TrainRank(job, rank, predictions[job.work.of_rank[rank.value()]], factory, signals,
                         rank == logging ? &reporter : nullptr, records[rank.value()]);
      },
      {.timeout = absl::Seconds(job.config.collective_timeout_seconds()),
       .backend = ChooseBackend(job.devices),
       .devices = job.devices,
       .on_stuck = options.on_stuck ? decltype(RunRanksOptions::on_stuck)(leave) : nullptr});
  absl::Status written;
  if (!trace.empty()) written = WriteTrace(trace, *job.layout, records);
  console.EndProgress();
  if (!trained.ok()) {
    if (!written.ok()) console.Print(written.message());
    return trained;
  }
  written.Update(reporter.Close());
  if (options.profile) {
    std::vector<RankProfile> profiles;
    for (RankRecord& record : records) profiles.push_back(std::move(record.profile));
    console.Print(DescribeProfile(profiles));
  }
  if (const std::string skipped = DescribeSkipped(reporter.tally()); !skipped.empty()) {
    console.Print(skipped);
  }
  const std::string result =
      ResultLine(reporter.num_steps_done(), absl::Now() - start, reporter.ResultValues());
  console.Print(result);
  written.Update(console.log_status());
  if (const absl::Status printed = console.status(); !printed.ok()) {
    written.Update(printed);
    return absl::Status(written.code(), absl::StrCat(written.message(), "\n", result));
  }
  HETERO_RETURN_IF_ERROR(written);
  if (reporter.stopped() || signals.requested() != 0) {
    return absl::CancelledError(
        absl::StrCat("the run was ended after ", Counted(reporter.num_steps_done(), "step")));
  }
  return JudgeRun(reporter.tally(), reporter.validation_loss());
}

}  // namespace

absl::Status Run(const RunOptions& options, const ModelRegistry& models, Console& console,
                 const StopSignals& signals) {
  const absl::Status status = RunToItsEnd(options, models, console, signals);
  if (!absl::IsCancelled(status)) return status;
  return absl::CancelledError(
      absl::StrCat("stopped by signal ", signals.requested(), ": ", status.message()));
}

std::string DescribeFailure(const absl::Status& status) {
  const ExitCode code = ExitCodeFor(status);
  return code == ExitCode::kCommunication || code == ExitCode::kInternal
             ? FailureRecord(status)
             : absl::StrCat("error: ", status.message());
}

std::string FailureRecord(const absl::Status& status) {
  std::string text = absl::StrCat("error: ", status.message());
  if (const std::optional<absl::Cord> others = status.GetPayload(kOtherRanksPayload)) {
    absl::StrAppend(&text, "\n", std::string(*others));
  }
  if (const std::optional<absl::Cord> calls = status.GetPayload(kLastCallsPayload)) {
    absl::StrAppend(&text, "\nlast calls of every rank:\n", std::string(*calls));
  }
  return text;
}

}  // namespace hetero
