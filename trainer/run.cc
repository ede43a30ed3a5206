#include "hetero/trainer/run.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/layout.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/trainer/config.h"
#include "hetero/trainer/config_text.h"
#include "hetero/trainer/metrics_writer.h"
#include "hetero/trainer/optimizer_settings.h"
#include "hetero/trainer/plan.h"
#include "hetero/trainer/profile.h"
#include "hetero/trainer/rank_trainer.h"
#include "hetero/trainer/samples.h"

namespace hetero {
namespace {

absl::Status ViolationsError(const std::vector<Violation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(
      violations, "\n",
      [](std::string* out, const Violation& violation) { out->append(violation.message); }));
}

// What every rank of the run shares and none changes.
struct Job {
  proto::RunConfig config;
  RunSizes sizes;
  std::unique_ptr<Model> model;
  std::optional<Layout> layout;
  StepPlan train;
  std::optional<StepPlan> evaluate;
  SampleLimits limits;
  std::optional<RunSamples> samples;  // unset in a dry run
  std::optional<OptimizerSettings> optimizer;
};

absl::StatusOr<Job> MakeJob(const RunOptions& options, const ModelRegistry& models) {
  Job job;
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(options.config)));
  job.config = Resolve(options.config);
  job.sizes = SizesOf(job.config);
  HETERO_ASSIGN_OR_RETURN(job.model, models.Make(job.config.model()));
  const InputContract contract = job.model->input_contract();
  HETERO_RETURN_IF_ERROR(ViolationsError(ValidateData(job.config, contract)));
  job.limits = LimitsOf(job.config, contract);
  HETERO_ASSIGN_OR_RETURN(job.layout, Layout::Make(GridSpecs(job.config), job.sizes.world_size));
  const int run_ahead = static_cast<int>(job.config.encoder_run_ahead());
  HETERO_ASSIGN_OR_RETURN(job.train,
                          MakePlan(*job.layout, *job.model, job.config.micro_batch_size(),
                                   job.config.global_batch_size(), run_ahead));
  if (job.config.has_evaluation()) {
    HETERO_ASSIGN_OR_RETURN(
        job.evaluate, MakePlan(*job.layout, *job.model, job.config.evaluation().micro_batch_size(),
                               job.config.evaluation().global_batch_size(), run_ahead));
  }
  HETERO_ASSIGN_OR_RETURN(job.optimizer, MakeOptimizerSettings(job.config));
  return job;
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
    const bool language = plan_stage.module == kLanguageModule;
    const InputContract contract = job.model->input_contract();
    BatchFeedOptions feed{.reads_tokens = language,
                          .reads_images = !language,
                          .position = {grid.LaneOf(rank).value(), grid.num_lanes()},
                          .batch = plan.batch,
                          .sequence_length = job.config.sequence_length(),
                          .pad_token_id = job.config.data().pad_token_id(),
                          .num_slots = plan.NumSlots(stage),
                          .device = device,
                          .limits = job.limits};
    if (contract.patch_size > 0) feed.image_token_id = contract.image_token_id;
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

absl::StatusOr<Prediction> Predict(const Job& job, GlobalRank rank) {
  const std::unique_ptr<CommunicatorFactory> factory =
      LoopbackFactory(rank, job.layout->world_size());
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<RankTrainer> trainer,
      RankTrainer::Create(MakeEngineOptions(job, rank, {DeviceKind::kShapeOnly}, *factory),
                          *job.optimizer));
  Engine& engine = trainer->engine();
  engine.stream().ledger().RecordCollectives(true);
  HETERO_RETURN_IF_ERROR(trainer->Step(0, false));
  Prediction prediction{.calls = engine.stream().ledger()};
  if (job.evaluate.has_value()) {
    HETERO_RETURN_IF_ERROR(trainer->Evaluate(1));
  }
  prediction.arenas = engine.PeakMemory();
  prediction.memory = engine.PredictedMemory();
  return prediction;
}

// What the process knows at the end.
struct Outcome {
  int64_t steps = 0;
  absl::Duration train_time;
  std::optional<double> lm_loss;
  std::optional<EvaluationResult> evaluation;
  bool stopped = false;
};

// Of one step; nothing when no token of it counts.
std::optional<double> LossOf(const StepResult& result) {
  if (result.report.tokens == 0) return std::nullopt;
  return result.lm_loss_sum / static_cast<double>(result.report.tokens);
}

// The rank that owns the console and the event files.
class Reporter {
 public:
  Reporter(const Job& job, const RunOptions& options, Console& console,
           std::unique_ptr<MetricsWriter> events)
      : job_(job), options_(options), console_(console), events_(std::move(events)) {}

  void Step(int64_t step, const StepResult& result, const LearningRateSchedule& schedule,
            int64_t consumed_by_updates, absl::Duration elapsed) {
    const int64_t iteration = step + 1;
    StepMetrics metrics{.iteration = iteration,
                        .consumed_samples = iteration * job_.config.global_batch_size(),
                        .global_batch_size = job_.config.global_batch_size(),
                        .skipped = result.report.outcome != StepOutcome::kApplied,
                        .learning_rate = schedule.At(consumed_by_updates),
                        .grad_norm = result.report.gradient_norm};
    metrics.losses.push_back(
        {"lm loss", result.lm_loss_sum, static_cast<double>(result.report.tokens)});
    if (result.has_balance_loss) {
      metrics.losses.push_back({"seq_load_balancing_loss", result.balance_loss, 1});
    }
    interval_.Add(metrics, elapsed);
    if (options_.on_step) options_.on_step(metrics);
    const proto::Logging& logging = job_.config.logging();
    if (events_ != nullptr && iteration % logging.event_interval_steps() == 0) {
      events_->WriteStep(metrics);
    }
    const bool interval_ends = iteration % logging.console_interval_steps() == 0;
    if (interval_ends || iteration == 1) {
      const IntervalAverages averages = interval_.averages();
      console_.Print(TrainingLine({.now = absl::Now(), .num_iterations = job_.sizes.train_steps},
                                  metrics, averages));
      if (interval_ends) {
        if (events_ != nullptr) events_->WriteInterval(metrics, averages, std::nullopt);
        interval_.Reset();
      }
    }
    const std::optional<double> loss = LossOf(result);
    const std::string detail = loss.has_value() ? absl::StrFormat("lm loss %.4f", *loss) : "";
    console_.Progress({.what = "train",
                       .done = iteration,
                       .total = job_.sizes.train_steps,
                       .start = start_,
                       .detail = detail});
  }

  void Evaluation(int64_t iteration, const EvaluationResult& result) {
    const std::vector<NamedValue> values = {
        {"lm loss", result.lm_loss_sum / static_cast<double>(result.tokens)},
        {"caption accuracy",
         static_cast<double>(result.exact_matches) / static_cast<double>(result.sequences)}};
    console_.Print(ValidationBlock(absl::StrCat("iteration ", iteration), values));
    if (events_ != nullptr) {
      events_->WriteEvaluation(iteration, iteration * job_.config.global_batch_size(), values);
    }
  }

  absl::Status Close() { return events_ == nullptr ? absl::OkStatus() : events_->Close(); }

 private:
  const Job& job_;
  const RunOptions& options_;
  Console& console_;
  std::unique_ptr<MetricsWriter> events_;
  MetricsInterval interval_;
  absl::Time start_ = absl::Now();
};

absl::Status TrainRank(const Job& job, GlobalRank rank, CommunicatorFactory& factory,
                       const StopSignals& signals, Reporter* reporter, Outcome* outcome,
                       RankProfile& profile) {
  HETERO_ASSIGN_OR_RETURN(Prediction prediction, Predict(job, rank));
  EngineOptions options = MakeEngineOptions(job, rank, {DeviceKind::kCpu}, factory);
  options.memory = prediction.arenas;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  Engine& engine = trainer->engine();
  if (engine.ledger() != prediction.memory) {
    return absl::InternalError(absl::StrCat("allocated ", engine.ledger().ToString(),
                                            "; the dry run said ", prediction.memory.ToString()));
  }
  const int64_t evaluation_interval =
      job.config.evaluation().has_interval_steps() ? job.config.evaluation().interval_steps() : 0;
  const auto evaluate = [&](int64_t iteration) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(const EvaluationResult result,
                            trainer->Evaluate(job.config.evaluation().num_batches()));
    if (reporter != nullptr) reporter->Evaluation(iteration, result);
    if (outcome != nullptr) outcome->evaluation = result;
    return absl::OkStatus();
  };

  absl::Duration evaluation_time;
  const absl::Time start = absl::Now();
  const absl::Duration thread_start = ThreadTime();
  absl::Time step_start = start;
  int64_t step = 0;
  bool stopped = false;
  std::optional<int64_t> evaluated_at;
  while (step < job.sizes.train_steps && !stopped) {
    HETERO_ASSIGN_OR_RETURN(const StepResult result, trainer->Step(step, signals.requested() != 0));
    stopped = result.stop_requested;
    if (step == 0 &&
        engine.stream().ledger().collective_hash() != prediction.calls.collective_hash()) {
      return absl::InternalError("the first step's collectives are not those of the dry run");
    }
    const absl::Time now = absl::Now();
    if (reporter != nullptr) {
      reporter->Step(step, result, trainer->schedule(),
                     trainer->optimizer().progress().consumed_samples, now - step_start);
    }
    ++step;
    if (outcome != nullptr) {
      outcome->steps = step;
      outcome->lm_loss = LossOf(result);
    }
    step_start = now;
    if (evaluation_interval > 0 && step % evaluation_interval == 0 && !stopped) {
      HETERO_RETURN_IF_ERROR(evaluate(step)).With("evaluation");
      evaluated_at = step;
      step_start = absl::Now();
      evaluation_time += step_start - now;
    }
  }
  profile.wall_time = absl::Now() - start - evaluation_time;
  profile.thread_time = ThreadTime() - thread_start;
  profile.calls = engine.stream().ledger();
  profile.memory = engine.ledger();
  if (outcome != nullptr) {
    outcome->train_time = profile.wall_time;
    outcome->stopped = stopped;
  }
  if (job.evaluate.has_value() && !stopped && evaluated_at != step) {
    HETERO_RETURN_IF_ERROR(evaluate(step)).With("evaluation");
  }
  return absl::OkStatus();
}

absl::Status DryRun(const Job& job, Console& console) {
  console.Print(job.train.ToString());
  for (int64_t r = 0; r < job.layout->world_size(); ++r) {
    HETERO_ASSIGN_OR_RETURN(const Prediction prediction, Predict(job, GlobalRank(r)));
    console.Print(DescribePrediction(r, prediction.memory, prediction.calls));
  }
  return absl::OkStatus();
}

std::vector<NamedValue> ResultValues(const Outcome& outcome) {
  std::vector<NamedValue> values = {{"train seconds", absl::ToDoubleSeconds(outcome.train_time)}};
  if (outcome.lm_loss.has_value()) values.push_back({"lm loss", *outcome.lm_loss});
  if (outcome.evaluation.has_value()) {
    const EvaluationResult& e = *outcome.evaluation;
    values.push_back({"validation lm loss", e.lm_loss_sum / static_cast<double>(e.tokens)});
    values.push_back({"caption accuracy",
                      static_cast<double>(e.exact_matches) / static_cast<double>(e.sequences)});
  }
  return values;
}

}  // namespace

absl::Status Run(const RunOptions& options, const ModelRegistry& models, Console& console,
                 const StopSignals& signals) {
  const absl::Time start = absl::Now();
  HETERO_ASSIGN_OR_RETURN(Job job, MakeJob(options, models));
  if (options.print_config) {
    console.Print(ToText(job.config));
    return absl::OkStatus();
  }
  if (options.dry_run) return DryRun(job, console);
  if (job.config.device() != proto::RunConfig::CPU) {
    return absl::UnimplementedError("device CUDA: this program was built without CUDA; use CPU");
  }
  HETERO_ASSIGN_OR_RETURN(
      job.samples, PrepareSamples(job.config, job.model->input_contract(), options.working_folder,
                                  [&](std::string_view line) { console.Print(line); }));
  console.Print(absl::StrCat(job.layout->ToString(), BlasDescription()));

  const std::filesystem::path folder = options.working_folder / job.config.logging().folder();
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<MetricsWriter> events,
                          MetricsWriter::Create(folder.string(), job.layout->world_size()));
  Reporter reporter(job, options, console, std::move(events));
  Outcome outcome;
  std::vector<RankProfile> profiles(job.layout->world_size());
  // The last rank of the language grid knows everything and stands where logs are looked for.
  const Grid& language = job.layout->language();
  const GlobalRank logging(language.first_rank().value() + language.num_ranks() - 1);
  HETERO_RETURN_IF_ERROR(
      RunRanks(job.layout->world_size(),
               [&](GlobalRank rank, CommunicatorFactory& factory) {
                 const bool logs = rank == logging;
                 return TrainRank(job, rank, factory, signals, logs ? &reporter : nullptr,
                                  logs ? &outcome : nullptr, profiles[rank.value()]);
               },
               {.timeout = absl::Seconds(job.config.collective_timeout_seconds())}));
  HETERO_RETURN_IF_ERROR(reporter.Close());
  console.EndProgress();
  if (options.profile) console.Print(DescribeProfile(profiles, outcome.steps));
  console.Print(ResultLine(outcome.steps, absl::Now() - start, ResultValues(outcome)));
  if (outcome.stopped) {
    return absl::CancelledError(absl::StrCat("stopped by signal ", signals.requested(), " after ",
                                             outcome.steps, " steps"));
  }
  return absl::OkStatus();
}

std::string DescribeFailure(const absl::Status& status) {
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
