// Measures what operations and messages of a step take on this machine, and writes the table that
// predictions are made with:
//   machine --recipes=fashion_tiny --output=machine.textproto

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/status.h"
#include "hetero/data/file/file.h"
#include "hetero/models/registry.h"
#include "hetero/tensor/gpus.h"
#include "hetero/tools/bench/measure.h"
#include "hetero/tools/bench/sizes.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/load_config.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/timing/calibration.h"
#include "hetero/trainer/timing/machine_table.h"
#include "hetero/trainer/version/version.h"

ABSL_FLAG(std::string, device, "cpu", "cpu (f32) or cuda (bf16)");
ABSL_FLAG(std::vector<std::string>, recipes, {"fashion_tiny"},
          "recipes whose operations are measured, in several sizes and divided");
ABSL_FLAG(std::vector<std::string>, set, {}, "fields of the recipes to change, PATH=VALUE");
ABSL_FLAG(int, steps, 3, "steps measured of each size");
ABSL_FLAG(std::string, output, "machine.textproto", "file to write");

namespace hetero {
namespace {

struct Variant {
  int64_t tp = 1;
  // Of the recipe's micro_batch_size.
  int64_t times = 1;
  int64_t over = 1;
};

constexpr Variant kVariants[] = {
    {.tp = 1, .over = 4},
    {.tp = 1, .over = 2},
    {.tp = 1},
    {.tp = 1, .times = 2},
    {.tp = 2, .over = 2},
    {.tp = 2},
    {.tp = 4},
};

// `config` on `variant.tp` ranks that hold a part of every layer of every module.
proto::RunConfig Changed(proto::RunConfig config, const Variant& variant, bool on_gpu) {
  config.set_device(on_gpu ? proto::RunConfig::CUDA : proto::RunConfig::CPU);
  config.set_precision(on_gpu ? proto::RunConfig::BF16 : proto::RunConfig::F32);
  config.set_launch(absl::StrCat("threads:", variant.tp));
  for (proto::GridSpec& grid : *config.mutable_grids()) {
    const std::string name = grid.name();
    grid.Clear();
    grid.set_name(name);
    grid.set_num_ranks(variant.tp);
    grid.set_rank_offset(0);
    grid.set_tp(variant.tp);
  }
  const int64_t samples =
      std::max<int64_t>(1, config.micro_batch_size() * variant.times / variant.over);
  config.set_micro_batch_size(samples);
  config.set_global_batch_size(2 * samples);
  config.set_pipeline_chunks(1);
  config.clear_evaluation();
  config.clear_checkpoint();
  return config;
}

absl::Status MeasureRecipe(const std::string& recipe, bool on_gpu, int num_threads,
                           const StopSignals& signals, OperationTimes& times) {
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path folder, WorkingFolder());
  const ModelRegistry models = BuiltInModels();
  CommandLine line = {.recipe = recipe};
  for (const std::string& field : absl::GetFlag(FLAGS_set)) {
    line.fields.push_back({.prefix = "--set ", .assignment = field});
  }
  HETERO_ASSIGN_OR_RETURN(const LoadedConfig loaded, LoadConfig(line, folder));
  int num_measured = 0;
  std::string refused;
  for (const Variant& variant : kVariants) {
    const proto::RunConfig config = Changed(loaded.config, variant, on_gpu);
    if (const auto violations = Validate(config, models); !violations.empty()) {
      refused = violations.front().ToString();
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(Job job, MakeJob({.config = config}, models));
    HETERO_ASSIGN_OR_RETURN(
        job.samples,
        PrepareSamples(job.config, ContractOf(job.model->graph()), /*num_lanes=*/1, folder,
                       {.stop_requested = [&signals] { return signals.requested() != 0; },
                        .message = [](std::string_view text) { std::cout << text << "\n"; }}));
    std::cout << recipe << ", tp " << variant.tp << ", " << config.micro_batch_size()
              << " samples a microbatch" << std::endl;
    HETERO_RETURN_IF_ERROR(MeasureOperations(
        job, {.kind = on_gpu ? DeviceKind::kCuda : DeviceKind::kCpu},
        {.num_steps = absl::GetFlag(FLAGS_steps), .num_threads = num_threads}, signals, times));
    ++num_measured;
  }
  if (num_measured > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--recipes: ", recipe, " cannot be measured: ", refused));
}

absl::Status Main() {
  const std::string device = absl::GetFlag(FLAGS_device);
  if (device != "cpu" && device != "cuda") {
    return absl::InvalidArgumentError(absl::StrCat("--device is ", device, "; cpu or cuda"));
  }
  const bool on_gpu = device == "cuda";
  if (absl::GetFlag(FLAGS_steps) < 1) return absl::InvalidArgumentError("--steps is at least 1");
  const StopSignals signals;
  proto::Machine machine;
  int num_threads = 1;
  std::vector<Device> devices(2);
  if (on_gpu) {
    HETERO_ASSIGN_OR_RETURN(const int num_gpus, CountGpus());
    devices.clear();
    for (int gpu = 0; gpu < num_gpus; ++gpu) {
      devices.push_back({.kind = DeviceKind::kCuda, .ordinal = gpu});
    }
  } else {
    num_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    machine.set_cores(num_threads);
  }
  // The last line says which devices there are.
  const std::vector<std::string> lines = absl::StrSplit(DescribeProgram(), '\n');
  machine.set_description(
      absl::StrCat(lines.back(), ", ", on_gpu ? "bf16" : "f32", "; ", ProgramName()));
  machine.set_storage(on_gpu ? proto::Machine::BF16 : proto::Machine::F32);

  bench::Sizes sizes = bench::Nemotron20L();
  if (!on_gpu) {
    sizes = bench::Tiny();
    sizes.gemm_side = 1024;
    sizes.copy_elements = int64_t{1} << 23;
  }
  HETERO_ASSIGN_OR_RETURN(
      const bench::Ceilings ceilings,
      bench::MeasureCeilings(sizes, {on_gpu ? DeviceKind::kCuda : DeviceKind::kCpu}, {}));
  machine.set_peak_flops(ceilings.gemm_flops);
  machine.set_copy_bytes(ceilings.copy_bytes);

  TrafficTimes traffic;
  if (devices.size() > 1) {
    HETERO_ASSIGN_OR_RETURN(traffic, MeasureTraffic(devices, 500));
  } else {
    std::cout << "one GPU: messages are not measured, and take no time in predictions\n";
  }
  OperationTimes operations;
  for (const std::string& recipe : absl::GetFlag(FLAGS_recipes)) {
    HETERO_RETURN_IF_ERROR(MeasureRecipe(recipe, on_gpu, num_threads, signals, operations));
  }
  AddRates(operations, traffic, machine);
  HETERO_RETURN_IF_ERROR(MachineTable::Make(machine, "the measured table").status());

  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(machine, &text)) {
    return absl::InternalError("the table cannot be printed");
  }
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path folder, WorkingFolder());
  const std::filesystem::path path = folder / absl::GetFlag(FLAGS_output);
  HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(path, text));
  std::cout << "written: " << path.native() << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures operations and messages of a machine.");
  absl::ParseCommandLine(argc, argv);
  return hetero::ToolMain(hetero::Main);
}
