// Converts Fashion-MNIST into WebDataset shards with Megatron-Energon metadata.
//
//   bazel run //tools:prepare_fashion_mnist -- --output=/data/fashion_mnist

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"

ABSL_FLAG(std::string, source, "/usr/share/datasets/fashion-mnist",
          "Folder of the four .gz files of Fashion-MNIST.");
ABSL_FLAG(std::string, output, "", "Folder to create; its parents are created too.");

namespace hetero {
namespace {

absl::Status Main() {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output.empty()) {
    return absl::InvalidArgumentError("--output is not set; name the folder to create");
  }
  HETERO_ASSIGN_OR_RETURN(const std::filesystem::path working_folder, WorkingFolder());
  const std::filesystem::path folder = working_folder / output;
  const StopSignals signals;
  HETERO_ASSIGN_OR_RETURN(
      const data::FashionMnistReport report,
      data::PrepareFashionMnist(
          {.source = working_folder / absl::GetFlag(FLAGS_source),
           .output = folder,
           .work = {
               .stop_requested = [&signals] { return signals.requested() != 0; },
               .message = [](std::string_view line) { absl::FPrintF(stderr, "%s\n", line); }}}));
  if (report.was_ready) {
    absl::PrintF("%s is already prepared\n", folder.native());
    return absl::OkStatus();
  }
  for (const std::string& warning : report.prepared.warnings) absl::PrintF("%s\n", warning);
  for (const auto& [sample, reason] : report.prepared.excluded) {
    absl::PrintF("excluded %s: %s\n", sample, reason);
  }
  absl::PrintF("%s: %d samples in %d shards, %d excluded\n", folder.native(),
               report.prepared.num_samples, report.prepared.num_shards,
               report.prepared.excluded.size());
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Prepares Fashion-MNIST as a captioning data set.");
  absl::ParseCommandLine(argc, argv);
  return hetero::ToolMain(hetero::Main);
}
