// Says how near the tensors of one file are to those of another.
//
//   bazel run //tools:compare_tensors -- ours.safetensors theirs.safetensors --tolerance=1e-4

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
#include "hetero/ckpt/inspect/closeness.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/tools/tool_main.h"
#include "hetero/trainer/process.h"
#include "hetero/trainer/signals.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "Says how near the tensors of one file are to those of another: of every floating-point "
    "tensor\n"
    "|A - B| / |B| in the Euclidean norm, the cosine of their angle and max |A - B|, in the order "
    "of\n"
    "the model, and which is the first that is too far away.\n\n"
    "  compare_tensors A B\n\n"
    "  A, B              a safetensors file, a folder of those, or a checkpoint\n"
    "  --tolerance=X     of |A - B| / |B|; by default 0\n"
    "  --prefix=NAME     only tensors whose names begin so\n"
    "  --quiet           only those that are too far away\n\n"
    "Exit codes: 0 all are within the tolerance, 2 the command cannot work, 3 some are not, or "
    "are\n"
    "in one of the two only.\n";

struct CommandLine {
  bool help = false;
  bool quiet = false;
  double tolerance = 0;
  std::string_view prefix;
  std::vector<std::string_view> paths;
};

absl::StatusOr<CommandLine> ParseCommandLine(std::span<char* const> arguments) {
  CommandLine line;
  for (std::string_view argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (argument == "--quiet") {
      line.quiet = true;
    } else if (absl::ConsumePrefix(&argument, "--prefix=")) {
      line.prefix = argument;
    } else if (absl::ConsumePrefix(&argument, "--tolerance=")) {
      if (!absl::SimpleAtod(argument, &line.tolerance) || !(line.tolerance >= 0)) {
        return absl::InvalidArgumentError(
            absl::StrCat("--tolerance=", argument, " is no tolerance; write --tolerance=1e-4"));
      }
    } else if (absl::StartsWith(argument, "-")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "unknown flag ", argument, "; there are --tolerance, --prefix, --quiet, --help"));
    } else {
      line.paths.push_back(argument);
    }
  }
  if (line.help || line.paths.size() == 2) return line;
  return absl::InvalidArgumentError(
      absl::StrCat("two paths are needed, ", line.paths.size(), " are given; see --help"));
}

absl::Status Report(const ClosenessReport& report, const CommandLine& line) {
  int64_t beyond = 0;
  double largest = 0;
  for (const TensorCloseness& at : report.tensors) {
    const bool within = at.IsWithin(line.tolerance);
    if (!within) ++beyond;
    if (!(at.relative <= largest)) largest = at.relative;
    if (line.quiet && within) continue;
    absl::PrintF("%s%s\n", within ? "" : "! ", at.ToString());
  }
  for (const std::string& key : report.only_first) absl::PrintF("! only in the first: %s\n", key);
  for (const std::string& key : report.only_second) absl::PrintF("! only in the second: %s\n", key);
  for (const std::string& text : report.unlike) absl::PrintF("! %s\n", text);
  if (const TensorCloseness* const first = report.FirstBeyond(line.tolerance); first != nullptr) {
    absl::PrintF("first divergence: %s\n", first->ToString());
  }
  absl::PrintF("%d tensors, %d beyond %g, largest %g; %d cannot be compared\n",
               report.tensors.size(), beyond, line.tolerance, largest,
               report.only_first.size() + report.only_second.size() + report.unlike.size());
  if (report.tensors.empty()) {
    return absl::NotFoundError("no tensor is in both");
  }
  const bool all_alike =
      report.only_first.empty() && report.only_second.empty() && report.unlike.empty();
  if (beyond == 0 && all_alike) return absl::OkStatus();
  return absl::DataLossError("the two differ");
}

absl::Status Main(std::span<char* const> arguments) {
  HETERO_ASSIGN_OR_RETURN(const CommandLine line, ParseCommandLine(arguments));
  if (line.help) {
    std::fputs(kUsage.data(), stdout);
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const fs::path working_folder, WorkingFolder());
  PosixStorage storage;
  HETERO_ASSIGN_OR_RETURN(const auto first,
                          StoredTensors::Open(storage, working_folder / line.paths[0]));
  HETERO_ASSIGN_OR_RETURN(const auto second,
                          StoredTensors::Open(storage, working_folder / line.paths[1]));
  const StopSignals signals;
  const auto go_on = [&](std::string_view) {
    return signals.requested() == 0 ? absl::OkStatus()
                                    : absl::CancelledError("the comparison was not finished");
  };
  HETERO_ASSIGN_OR_RETURN(
      const ClosenessReport report,
      CompareNumbers(*first, *second, {.prefix = line.prefix, .before_each = go_on}));
  return Report(report, line);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
