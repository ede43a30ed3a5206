#include "hetero/trainer/run_preparation.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/base/violation.h"
#include "hetero/data/webdataset/quarantine_list.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/devices.h"
#include "hetero/trainer/feed/input_contract.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/report/output_check.h"
#include "hetero/trainer/report/start_up.h"
#include "hetero/trainer/version/version.h"

namespace hetero {
namespace {

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

}  // namespace

absl::Status AgreeOnJob(const Job& job, Team& team) {
  HETERO_RETURN_IF_ERROR(team.Agree("program", ProgramName()));
  return team.Agree("configuration", ToText(job.config));
}

absl::StatusOr<std::unique_ptr<RunCheckpoints>> PrepareRun(const RunOptions& options,
                                                           const std::filesystem::path& trace,
                                                           Job& job, Team& team, Console& console,
                                                           const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(job.devices, ChooseDevices(options, job, team));
  if (team.logs()) {
    HETERO_RETURN_IF_ERROR(
        CheckOutput(options.working_folder / job.config.logging().folder(), trace));
  }
  for (const std::string& note : job.notes) console.Print(note);
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
  if (const RunQuarantine* const quarantine = job.samples->quarantine.get();
      quarantine != nullptr) {
    HETERO_RETURN_IF_ERROR(
        team.Agree("list of samples to pass over", data::FormatQuarantine(quarantine->listed())));
  }
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<RunCheckpoints> checkpoints,
                          PrepareCheckpoints(options, job, team, console));
  console.Print(DescribeStart(*job.layout, DescribeBatches(job), job.devices, team.is_one_process(),
                              job.model->graph().SampleOwner().storage, job.samples->description));
  HETERO_RETURN_IF_ERROR(console.status());
  if (job.devices[0].kind == DeviceKind::kCpu) {
    HETERO_RETURN_IF_ERROR(cpu::PrepareProducts());
  }
  return checkpoints;
}

}  // namespace hetero
