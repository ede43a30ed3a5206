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
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/data/webdataset/quarantine_list.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/devices.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/print_dry_run.h"
#include "hetero/trainer/replay/walk_report.h"
#include "hetero/trainer/report/output_check.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/report/start_up.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/run_files.h"
#include "hetero/trainer/run_output.h"
#include "hetero/trainer/run_profile.h"
#include "hetero/trainer/team.h"
#include "hetero/trainer/train_rank.h"
#include "hetero/trainer/version/version.h"

namespace hetero {
namespace {

void PrintNotes(const Job& job, Console& console) {
  for (const std::string& note : job.notes) console.Print(note);
}

// The last rank of the module that owns the samples knows everything and stands where logs are
// looked for.
GlobalRank LoggingRank(const Job& job) {
  const Grid& owner = *job.layout->Find(job.model->graph().SampleOwner().name);
  return GlobalRank(owner.first_rank().value() + owner.num_ranks() - 1);
}

std::filesystem::path TracePath(const RunOptions& options) {
  if (options.trace.empty()) return {};
  const std::filesystem::path path = options.working_folder / options.trace;
  return options.rendezvous == nullptr ? path : TracePartPath(path, options.rendezvous->rank());
}

// What every process must have the same, before anything is prepared.
absl::Status AgreeOnJob(const Job& job, Team& team) {
  HETERO_RETURN_IF_ERROR(team.Agree("program", ProgramName()));
  return team.Agree("configuration", ToText(job.config));
}

// By rank; of a process its own alone.
absl::StatusOr<std::vector<Device>> ChooseDevices(const RunOptions& options, const Job& job,
                                                  Team& team) {
  const int64_t num_ranks = job.layout->world_size();
  if (team.is_one_process()) return DevicesOfThreads(job.config.device(), num_ranks);
  HETERO_ASSIGN_OR_RETURN(const Device device,
                          DeviceOfProcess(job.config.device(), options.local_rank));
  if (device.kind == DeviceKind::kCuda) {
    HETERO_ASSIGN_OR_RETURN(const std::string uuid, GpuUuid(device.ordinal));
    HETERO_ASSIGN_OR_RETURN(const int num_gpus, CountGpus());
    HETERO_RETURN_IF_ERROR(team.Differ(
        "GPU", uuid,
        absl::StrCat("a process needs a GPU of its own, and theirs sees ", Counted(num_gpus, "GPU"),
                     "; start fewer processes on a machine, or let ranks "
                     "share GPUs as threads, launch threads:",
                     num_ranks)));
    HETERO_ASSIGN_OR_RETURN(const std::string software, DescribeGpuSoftware(device));
    HETERO_RETURN_IF_ERROR(team.Agree("GPU software", software));
  }
  return std::vector<Device>(static_cast<size_t>(num_ranks), device);
}

absl::StatusOr<std::unique_ptr<RunCheckpoints>> PrepareCheckpoints(const RunOptions& options,
                                                                   const Job& job, Team& team,
                                                                   Console& console) {
  const proto::Checkpoint& wanted = job.config.checkpoint();
  if (!wanted.has_save() && !wanted.has_load()) return nullptr;
  HETERO_ASSIGN_OR_RETURN(
      std::unique_ptr<RunCheckpoints> checkpoints,
      FindCheckpoints(job.config, *job.layout, *job.samples, options.working_folder));
  std::string source;
  if (checkpoints->source.has_value()) {
    source = checkpoints->source->folder.native();
    for (const std::string& name : checkpoints->source->plan.candidates) {
      absl::StrAppend(&source, "\n", name);
    }
  }
  HETERO_RETURN_IF_ERROR(team.Agree("checkpoints to go on from", source));
  const std::string earlier =
      DescribeEarlierRun(job.config, options.working_folder, checkpoints->storage);
  if (!earlier.empty()) console.Print(earlier);
  return checkpoints;
}

// What there is to say when all has been trained, `profile` if it is not empty.
absl::Status Finish(const std::string& profile, absl::Time start, Reporter& reporter,
                    const StopSignals& signals, Console& console, absl::Status written) {
  written.Update(reporter.Close());
  written.Update(reporter.unsaved());
  if (!profile.empty()) console.Print(profile);
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

// Makes one file of what each process wrote.
absl::Status MergeTraces(const RunOptions& options, Team& team, Console& console) {
  if (team.is_one_process()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(team.Meet("all have written their trace"));
  if (!team.logs()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(
      const std::string merged,
      MergeTraceParts(options.working_folder / options.trace, options.rendezvous->world_size()));
  console.Print(merged);
  return absl::OkStatus();
}

// Whether a failure is of the kind that is explained by what all ranks called.
bool HasRecord(const absl::Status& failure) {
  const ExitCode code = ExitCodeFor(failure);
  return code == ExitCode::kCommunication || code == ExitCode::kInternal;
}

// The last training step that a rank of this process has not ended.
std::optional<int64_t> StepInWork(std::span<const RankRecord> records) {
  std::optional<int64_t> last;
  for (const RankRecord& record : records) last = std::max(last, record.operation.step_in_work());
  return last;
}

// Whether a failure is one that the same step may have again.
bool MayComeAgain(const absl::Status& failure) {
  const ExitCode code = ExitCodeFor(failure);
  return code == ExitCode::kInternal || code == ExitCode::kData || code == ExitCode::kConfig;
}

absl::Status TellWalk(const RunOptions& options, const Job& job,
                      const std::vector<RankRecord>& records) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<StepSamples> source,
                          StepSamples::Create(job.samples->train, job.train.batch, NumLanes(job)));
  HETERO_ASSIGN_OR_RETURN(const std::vector<SampleOfStep> samples, source->Of(options.walk.step));
  std::vector<const StepWalk*> walks;
  for (const RankRecord& record : records) walks.push_back(&*record.walk);
  HETERO_ASSIGN_OR_RETURN(const std::string text, DescribeWalk(*job.model, *job.layout, job.train,
                                                               options.walk.step, walks, samples));
  options.walk.tell(text);
  return absl::OkStatus();
}

void KeepFlights(const std::filesystem::path& folder, const absl::Status& failure, const Job& job,
                 std::span<const RankRecord> records, Console& console) {
  if (!HasRecord(failure)) return;
  const absl::Status written = WriteFlights(folder, failure, *job.layout, records);
  console.Print(written.ok() ? absl::StrCat("flight: ", (folder / "flight").native())
                             : std::string(written.message()));
}

absl::Status Train(const RunOptions& options, Job& job, Team& team, Console& console,
                   const StopSignals& signals, absl::Time start) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictRun(job, signals));
  HETERO_ASSIGN_OR_RETURN(job.devices, ChooseDevices(options, job, team));
  const std::filesystem::path trace = TracePath(options);
  if (team.logs()) {
    HETERO_RETURN_IF_ERROR(
        CheckOutput(options.working_folder / job.config.logging().folder(), trace));
  }
  PrintNotes(job, console);
  HETERO_RETURN_IF_ERROR(console.status());
  HETERO_ASSIGN_OR_RETURN(
      job.samples,
      PrepareSamples(job.config, ContractOf(job.model->graph()), NumLanes(job),
                     options.working_folder,
                     {.stop_requested =
                          [&] {
                            team.GotOn();
                            return signals.requested() != 0 || team.has_failed();
                          },
                      .message = [&](std::string_view line) { console.Print(line); }}));
  HETERO_RETURN_IF_ERROR(ViolationsError(ValidateSamples(job.config, *job.samples)));
  HETERO_RETURN_IF_ERROR(team.Agree("number of training samples",
                                    absl::StrCat(job.samples->train.order.num_samples())));
  RunQuarantine* const quarantine = job.samples->quarantine.get();
  if (quarantine != nullptr) {
    HETERO_RETURN_IF_ERROR(
        team.Agree("list of samples to pass over", data::FormatQuarantine(quarantine->listed())));
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RunCheckpoints> checkpoints,
                          PrepareCheckpoints(options, job, team, console));
  console.Print(DescribeStart(*job.layout, DescribeBatches(job), job.devices, team.is_one_process(),
                              job.model->graph().SampleOwner().storage, job.samples->description));
  HETERO_RETURN_IF_ERROR(console.status());
  if (job.devices[0].kind == DeviceKind::kCpu) {
    HETERO_RETURN_IF_ERROR(cpu::PrepareProducts());
  }
  HETERO_ASSIGN_OR_RETURN(const RunOutput output,
                          OpenOutput(options, job, team, checkpoints.get(), console));
  Reporter* const reporter = output.reporter.get();
  if (quarantine != nullptr) quarantine->KeepIn(output.path / "quarantine.jsonl");
  std::vector<RankRecord> records(job.layout->world_size());
  if (!trace.empty()) {
    for (RankRecord& record : records) record.spans.emplace(kMaxSpans);
  }
  const bool waits_are_told = options.profile || job.config.logging().timers();
  if (waits_are_told && job.devices[0].kind == DeviceKind::kCpu) {
    for (RankRecord& record : records) record.waits.emplace();
  }
  if (options.walk.step >= 0) {
    for (RankRecord& record : records) record.walk.emplace();
  }
  HETERO_ASSIGN_OR_RETURN(const absl::Duration clock_ahead, team.ClockAhead());
  std::vector<GlobalRank> elsewhere;
  for (int64_t r = 0; r < job.layout->world_size(); ++r) {
    if (!team.IsHere(GlobalRank(r))) elsewhere.emplace_back(r);
  }
  const auto leave = [&](const absl::Status& failure, std::span<const GlobalRank> stuck) {
    std::vector<GlobalRank> silent = elsewhere;
    silent.insert(silent.end(), stuck.begin(), stuck.end());
    if (!trace.empty()) {
      WriteTrace(trace, *job.layout, records, silent, clock_ahead).IgnoreError();
    }
    KeepFlights(output.path, failure, job, records, console);
    options.on_stuck(failure);
  };
  const absl::Status trained = team.Run(
      [&](GlobalRank rank, CommunicatorFactory& factory) {
        return TrainRank({.job = job, .checkpoints = checkpoints.get(), .signals = signals}, rank,
                         predictions[job.work.of_rank[rank.value()]], factory,
                         rank == team.logging() ? reporter : nullptr, records[rank.value()]);
      },
      {.timeout = absl::Seconds(job.config.collective_timeout_seconds()),
       .devices = job.devices,
       .on_stuck = options.on_stuck ? decltype(Team::Options::on_stuck)(leave) : nullptr});
  absl::Status written;
  if (!trace.empty()) {
    written = WriteTrace(trace, *job.layout, records, elsewhere, clock_ahead);
    if (trained.ok()) written.Update(MergeTraces(options, team, console));
  }
  console.EndProgress();
  if (!trained.ok()) {
    if (!written.ok()) console.Print(written.message());
    if (const std::optional<int64_t> step = StepInWork(records);
        reporter != nullptr && step.has_value() && MayComeAgain(trained)) {
      reporter->Failed(*step, trained);
    }
    KeepFlights(output.path, trained, job, records, console);
    return trained;
  }
  std::string profile;
  if (options.profile) {
    HETERO_ASSIGN_OR_RETURN(profile, DescribeRun(job, records, team));
  }
  if (reporter == nullptr) return written;
  if (options.walk.step >= 0) {
    HETERO_RETURN_IF_ERROR(TellWalk(options, job, records));
    return reporter->Close();
  }
  return Finish(profile, start, *reporter, signals, console, written);
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
    if (!options.machine.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--machine=", options.machine, " is for a dry run; add --dry_run"));
    }
    HETERO_RETURN_IF_ERROR(ViolationsError(ValidateThreads(job.config)));
  }
  Team team(job.layout->world_size(), LoggingRank(job), options.rendezvous);
  HETERO_RETURN_IF_ERROR(AgreeOnJob(job, team));
  // One of the processes speaks.
  Console silent(-1);
  Console& out = team.logs() ? console : silent;
  if (team.logs()) {
    HETERO_RETURN_IF_ERROR(DrawPicture(options, job, out)).With("--picture");
  }
  if (options.dry_run) return PrintDryRun(options, job, out, signals);
  return Train(options, job, team, out, signals, start);
}

}  // namespace

absl::Status Run(const RunOptions& options, const ModelRegistry& models, Console& console,
                 const StopSignals& signals) {
  const absl::Status status = RunToItsEnd(options, models, console, signals);
  if (!absl::IsCancelled(status)) return status;
  std::vector<std::string> causes;
  if (signals.requested() != 0) {
    causes = {absl::StrCat("signal ", signals.requested())};
  } else {
    if (options.config.has_stop_after_minutes()) causes.emplace_back("stop_after_minutes");
    if (options.config.has_stop_every_steps()) causes.emplace_back("stop_every_steps");
    if (causes.empty()) causes.emplace_back("a signal to another rank");
  }
  return absl::CancelledError(
      absl::StrCat("stopped by ", absl::StrJoin(causes, " or "), ": ", status.message()));
}

std::string DescribeFailure(const absl::Status& status) {
  return HasRecord(status) ? FailureRecord(status) : absl::StrCat("error: ", status.message());
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
