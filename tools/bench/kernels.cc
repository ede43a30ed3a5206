// Measures every layer and kernel of the 20-layer preset:
//   kernels --json=kernels.json
// or a few of them: kernels --filter=ssd,layer.mamba. Exits with 1 if a case failed for another
// reason than being unavailable on the device.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "hetero/base/status.h"
#include "hetero/tools/bench/case.h"
#include "hetero/tools/bench/cases.h"
#include "hetero/tools/bench/measure.h"
#include "hetero/tools/bench/report.h"

ABSL_FLAG(std::string, device, "cuda", "cuda (bf16) or cpu (f32)");
ABSL_FLAG(std::string, sizes, "20L", "20L: the 20-layer preset; tiny: for a CPU");
ABSL_FLAG(int64_t, tokens, 0, "tokens of the language model's sequence; 0: the preset's");
ABSL_FLAG(std::vector<std::string>, filter, {}, "parts of the names of cases; empty: all");
ABSL_FLAG(int, samples, 15, "samples of a case");
ABSL_FLAG(double, sample_ms, 20, "what a sample takes at least");
ABSL_FLAG(int, multiprocessors_left, 0, "multiprocessors that persistent kernels leave to others");
ABSL_FLAG(std::string, json, "", "file for the results");

namespace hetero::bench {
namespace {

absl::Status CheckFlags() {
  const std::string device = absl::GetFlag(FLAGS_device), sizes = absl::GetFlag(FLAGS_sizes);
  if (device != "cuda" && device != "cpu") {
    return absl::InvalidArgumentError("--device is " + device + "; expected cuda or cpu");
  }
  if (sizes != "20L" && sizes != "tiny") {
    return absl::InvalidArgumentError("--sizes is " + sizes + "; expected 20L or tiny");
  }
  if (absl::GetFlag(FLAGS_tokens) < 0 || absl::GetFlag(FLAGS_samples) < 1 ||
      absl::GetFlag(FLAGS_sample_ms) <= 0 || absl::GetFlag(FLAGS_multiprocessors_left) < 0) {
    return absl::InvalidArgumentError(
        "--tokens and --multiprocessors_left are at least 0, --samples at least 1, --sample_ms "
        "above 0");
  }
  return absl::OkStatus();
}

bool Wanted(std::string_view name) {
  const std::vector<std::string> parts = absl::GetFlag(FLAGS_filter);
  return parts.empty() || std::ranges::any_of(parts, [&](std::string_view part) {
           return absl::StrContains(name, part);
         });
}

// Whether all cases that exist on the device could be measured.
absl::StatusOr<bool> Run() {
  HETERO_RETURN_IF_ERROR(CheckFlags());
  RunDescription run = {
      .device = {absl::GetFlag(FLAGS_device) == "cuda" ? DeviceKind::kCuda : DeviceKind::kCpu},
      .sizes = absl::GetFlag(FLAGS_sizes) == "tiny" ? Tiny() : Nemotron20L()};
  if (const int64_t tokens = absl::GetFlag(FLAGS_tokens); tokens > 0) run.sizes.tokens = tokens;
  const SamplerOptions options = {
      .samples = absl::GetFlag(FLAGS_samples),
      .sample_ms = absl::GetFlag(FLAGS_sample_ms),
      .multiprocessors_left = absl::GetFlag(FLAGS_multiprocessors_left)};
  HETERO_ASSIGN_OR_RETURN(run.ceilings, MeasureCeilings(run.sizes, run.device, options));
  std::cout << Heading(run) << std::flush;

  std::vector<Row> rows;
  bool measured = true;
  for (const Case& one : AllCases(run.sizes)) {
    if (!Wanted(one.name)) continue;
    rows.push_back(Measure(one, run.device, run.ceilings, options));
    std::cout << Line(rows.back()) << std::flush;
    measured &= rows.back().status.ok() || absl::IsUnimplemented(rows.back().status);
  }
  if (const std::string path = absl::GetFlag(FLAGS_json); !path.empty()) {
    std::ofstream file(path);
    file << ToJson(run, rows) << std::flush;
    if (!file.good()) return absl::UnknownError("cannot write " + path);
  }
  return measured;
}

}  // namespace
}  // namespace hetero::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("times layers and kernels against the device's ceilings");
  absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<bool> measured = hetero::bench::Run();
  if (!measured.ok()) {
    std::cerr << measured.status() << "\n";
    return EXIT_FAILURE;
  }
  return *measured ? EXIT_SUCCESS : EXIT_FAILURE;
}
