#include "hetero/trainer/run.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/print_dry_run.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/run_end.h"
#include "hetero/trainer/run_failure.h"
#include "hetero/trainer/run_files.h"
#include "hetero/trainer/run_output.h"
#include "hetero/trainer/run_preparation.h"
#include "hetero/trainer/run_profile.h"
#include "hetero/trainer/team.h"
#include "hetero/trainer/train_rank.h"

namespace hetero {
namespace {

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

absl::Status Train(const RunOptions& options, Job& job, Team& team, Console& console,
                   const StopSignals& signals, absl::Time start) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictRun(job, signals));
  const std::filesystem::path trace = TracePath(options);
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RunCheckpoints> checkpoints,
                          PrepareRun(options, trace, job, team, console, signals));
  HETERO_ASSIGN_OR_RETURN(const RunOutput output,
                          OpenOutput(options, job, team, checkpoints.get(), console));
  Reporter* const reporter = output.reporter.get();
  if (RunQuarantine* const quarantine = job.samples->quarantine.get(); quarantine != nullptr) {
    quarantine->KeepIn(output.path / "quarantine.jsonl");
  }
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
  return FinishRun(profile, start, *reporter, signals, console, written);
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
