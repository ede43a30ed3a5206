#include "hetero/trainer/run.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/report/dry_run.h"
#include "hetero/trainer/report/metrics_writer.h"
#include "hetero/trainer/report/output_check.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/report/start_up.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/run_files.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/train_rank.h"

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

void PrintNotes(const Job& job, Console& console) {
  for (const std::string& note : job.notes) console.Print(note);
}

absl::Status DryRun(const Job& job, Console& console, const StopSignals& signals) {
  PrintNotes(job, console);
  console.Print(job.train.ToString());
  HETERO_ASSIGN_OR_RETURN(const std::string modules,
                          DescribeModules(*job.model, *job.layout, job.train,
                                          LargestSample(job.config.sequence_length(), job.limits)));
  console.Print(modules);
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
  std::unique_ptr<RunCheckpoints> checkpoints;
  if (const proto::Checkpoint& wanted = job.config.checkpoint();
      wanted.has_save() || wanted.has_load()) {
    HETERO_ASSIGN_OR_RETURN(checkpoints, FindCheckpoints(job.config, *job.layout,
                                                         job.samples->train.order.num_samples(),
                                                         options.working_folder));
    const std::string earlier =
        DescribeEarlierRun(job.config, options.working_folder, checkpoints->storage);
    if (!earlier.empty()) console.Print(earlier);
  }
  console.Print(DescribeStart(*job.layout, job.train.DescribeBatch(), job.devices,
                              job.model->graph().SampleOwner().storage, job.samples->description));
  HETERO_RETURN_IF_ERROR(console.status());
  if (job.devices[0].kind == DeviceKind::kCpu) {
    HETERO_RETURN_IF_ERROR(cpu::PrepareProducts());
  }
  HETERO_ASSIGN_OR_RETURN(RunFolder folder, OpenRunFolder(options, job.config, console));
  console.Print(absl::StrCat("output: ", folder.path().native()));
  HETERO_RETURN_IF_ERROR(console.status());
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<MetricsWriter> events,
                          MetricsWriter::Create(folder.path().native(), job.layout->world_size()));
  HETERO_RETURN_IF_ERROR(events->Flush());
  if (checkpoints != nullptr) {
    HETERO_RETURN_IF_ERROR(OpenFolders(options.working_folder, folder.path(), *checkpoints));
  }
  HETERO_RETURN_IF_ERROR(console.log_status());
  folder.Keep();
  Reporter reporter(job.config, job.model->graph().metrics, LearningRateScales(job),
                    job.sizes.train_steps, options.on_step, console, std::move(events));
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
        return TrainRank({.job = job, .checkpoints = checkpoints.get(), .signals = signals}, rank,
                         predictions[job.work.of_rank[rank.value()]], factory,
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
  written.Update(reporter.unsaved());
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
  const std::string cause = signals.requested() != 0 ? absl::StrCat("signal ", signals.requested())
                                                     : std::string("stop_after_minutes");
  return absl::CancelledError(absl::StrCat("stopped by ", cause, ": ", status.message()));
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
