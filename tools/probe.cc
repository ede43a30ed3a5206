// Runs a public model forward and backward and writes what comes out.
//
//   bazel run //tools:probe -- MODEL INPUTS OUTPUT --tp=2

#include "hetero/tools/model_probe/probe.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/process.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "Runs a public model forward and backward and writes what comes out.\n\n"
    "  probe MODEL INPUTS OUTPUT\n\n"
    "  MODEL             a folder with config.json (nemotron_h or radio) and safetensors files\n"
    "  INPUTS            a safetensors file: of nemotron_h input_ids and targets [rows, length],\n"
    "                    negative targets do not count; of radio image.0, image.1 and on,\n"
    "                    [3, height, width] each, normalised, and d_features [patches, hidden]\n"
    "  OUTPUT            the safetensors file to write: logits [tokens, vocabulary] and the mean\n"
    "                    loss, or features [patches, hidden] and the sum of their products with\n"
    "                    d_features, and gradient.NAME of every parameter by its name in the "
    "files\n"
    "  --tp=N            tensor-parallel ranks, threads of this process; by default 1\n"
    "  --ep=N            of these, ranks between which experts are divided; by default 1\n"
    "  --dtype=f32|f64   in what it computes; by default f32\n"
    "  --cast            weights of another type than that are cast\n"
    "  --unused=PATTERN  weights that are left out, \"*\" stands for any text; may come again\n"
    "  --layers          also layer.N, what each layer but the last of an encoder returns\n"
    "  --no_gradients    forward only\n"
    "  --export=FOLDER   the weights, as they were read, go back into safetensors files there\n\n"
    "Exit codes: 0 done, 2 the command, the model or the inputs cannot work, 3 damaged files,\n"
    "7 out of memory or disk.\n";

struct CommandLine {
  bool help = false;
  std::vector<std::string_view> paths;
  std::string_view exported;
  ProbeOptions options;
};

absl::Status ParseCount(std::string_view flag, std::string_view text, int64_t& count) {
  if (absl::SimpleAtoi(text, &count) && count > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, text, " is no number of ranks; write ", flag, "1"));
}

absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments) {
  CommandLine line;
  ProbeOptions& options = line.options;
  for (std::string_view argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (absl::ConsumePrefix(&argument, "--tp=")) {
      HETERO_RETURN_IF_ERROR(ParseCount("--tp=", argument, options.tp));
    } else if (absl::ConsumePrefix(&argument, "--ep=")) {
      HETERO_RETURN_IF_ERROR(ParseCount("--ep=", argument, options.ep));
    } else if (argument == "--dtype=f32") {
      options.dtype = DType::kF32;
    } else if (argument == "--dtype=f64") {
      options.dtype = DType::kF64;
    } else if (argument == "--cast") {
      options.cast = true;
    } else if (absl::ConsumePrefix(&argument, "--unused=")) {
      options.unused.emplace_back(argument);
    } else if (argument == "--layers") {
      options.layers = true;
    } else if (argument == "--no_gradients") {
      options.gradients = false;
    } else if (absl::ConsumePrefix(&argument, "--export=")) {
      line.exported = argument;
    } else if (absl::StartsWith(argument, "-")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag ", argument,
                       "; there are --tp=N, --ep=N, --dtype=f32 and f64, --cast, --unused=PATTERN, "
                       "--layers, --no_gradients, --export=FOLDER, --help"));
    } else {
      line.paths.push_back(argument);
    }
  }
  if (line.help || line.paths.size() == 3) return line;
  return absl::InvalidArgumentError(absl::StrCat(
      "MODEL, INPUTS and OUTPUT are needed, ", line.paths.size(), " paths are given; see --help"));
}

absl::Status Main(std::span<char* const> arguments) {
  HETERO_ASSIGN_OR_RETURN(CommandLine line, ParseCommandLine(arguments));
  if (line.help) {
    std::fputs(kUsage.data(), stdout);
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const fs::path working_folder, WorkingFolder());
  const auto full = [&](std::string_view path) {
    return (working_folder / path).lexically_normal();
  };
  line.options.model = full(line.paths[0]);
  line.options.inputs = full(line.paths[1]);
  line.options.output = full(line.paths[2]);
  if (!line.exported.empty()) line.options.exported = full(line.exported);
  PosixStorage storage;
  HETERO_ASSIGN_OR_RETURN(const ProbeReport report, Probe(storage, line.options));
  absl::PrintF("%d weights read\n", report.weights);
  for (const std::string& cast : report.cast) absl::PrintF("cast: %s\n", cast);
  for (const std::string& key : report.unused) absl::PrintF("unused: %s\n", key);
  absl::PrintF("loss %.9g\n%s: %d tensors\n", report.loss, line.options.output.native(),
               report.tensors_written);
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
