#include "hetero/trainer/print_dry_run.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/source.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/load_check.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/report/dry_run.h"
#include "hetero/trainer/timing/forecast.h"
#include "hetero/trainer/timing/machine_table.h"

namespace hetero {
namespace {

// Before anything else is worked out: what a run cannot begin with it need not plan for.
absl::Status DescribeLoad(const Job& job, const std::filesystem::path& working_folder,
                          Console& console, const StopSignals& signals) {
  if (!job.config.checkpoint().has_load()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const LoadCheck check, CheckLoad(job, working_folder, signals));
  console.Print(check.ToString());
  if (check.fits()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("checkpoint.load: ", check.checkpoint, " does not fit this run"));
}

// Of the run's own samples, where they can be read.
absl::Status PredictTime(const MachineTable& machine, const RunOptions& options, Job& job,
                         Console& console, const StopSignals& signals) {
  absl::StatusOr<RunSamples> samples = PrepareSamples(
      job.config, ContractOf(job.model->graph()),
      job.layout->Find(job.model->graph().SampleOwner().name)->num_lanes(), options.working_folder,
      {.stop_requested = [&signals] { return signals.requested() != 0; },
       .message = [&](std::string_view line) { console.Print(line); }});
  if (samples.ok()) {
    job.samples = *std::move(samples);
  } else {
    HETERO_RETURN_IF_ERROR(absl::IsCancelled(samples.status()) ? samples.status()
                                                               : absl::OkStatus());
    console.Print(absl::StrCat("samples cannot be read: ", samples.status().message()));
  }
  HETERO_ASSIGN_OR_RETURN(const StepForecast forecast, ForecastStep(job, machine, signals));
  console.Print(DescribeForecast(forecast, machine));
  return absl::OkStatus();
}

}  // namespace

absl::Status PrintDryRun(const RunOptions& options, Job& job, Console& console,
                         const StopSignals& signals) {
  std::optional<MachineTable> machine;
  if (!options.machine.empty()) {
    HETERO_ASSIGN_OR_RETURN(machine, LoadMachine(options.machine, options.working_folder));
  }
  for (const std::string& note : job.notes) console.Print(note);
  HETERO_RETURN_IF_ERROR(DescribeLoad(job, options.working_folder, console, signals));
  for (const StepPlan& plan : job.smaller) console.Print(plan.ToString());
  console.Print(job.train.ToString());
  HETERO_ASSIGN_OR_RETURN(const std::string modules,
                          DescribeModules(*job.model, *job.layout, job.train,
                                          LargestSample(job.config.sequence_length(), job.limits)));
  console.Print(modules);
  HETERO_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, PredictClasses(job, signals));
  std::vector<Prediction> keeping_everything;
  if (job.config.selective_recompute_size() > 0) {
    HETERO_ASSIGN_OR_RETURN(keeping_everything,
                            PredictClasses(job, signals, {.keeps_everything = true}));
  }
  std::vector<ClassPrediction> classes;
  for (size_t i = 0; i < predictions.size(); ++i) {
    classes.push_back({.ranks = job.work.classes[i],
                       .memory = &predictions[i].memory,
                       .calls = &predictions[i].calls,
                       .connections = predictions[i].connections,
                       .save_bytes = predictions[i].save_bytes});
    if (!keeping_everything.empty()) {
      classes.back().memory_keeping_everything = &keeping_everything[i].memory;
      classes.back().calls_keeping_everything = &keeping_everything[i].calls;
    }
    console.Print(DescribePrediction(job.train, classes.back()));
  }
  console.Print(DescribeProof(job.train, job.smaller,
                              job.evaluate.has_value() ? &*job.evaluate : nullptr, classes));
  if (!machine.has_value()) return absl::OkStatus();
  return PredictTime(*machine, options, job, console, signals);
}

}  // namespace hetero
