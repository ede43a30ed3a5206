// Makes one trace of those of the ranks of a run, which each process wrote on its machine.
//
//   bazel run //tools:merge_traces -- t.json t.rank0.json t.rank1.json

#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/telemetry/chrome_trace.h"
#include "hetero/tools/tool_main.h"

namespace hetero {
namespace {

constexpr std::string_view kUsage =
    "Makes one trace of those of several ranks, on one clock.\n\n"
    "  merge_traces MERGED PART...";

absl::Status Main(std::span<char* const> arguments) {
  if (arguments.size() == 1 && std::string_view(arguments[0]) == "--help") {
    std::printf("%s\n", std::string(kUsage).c_str());
    return absl::OkStatus();
  }
  if (arguments.size() < 2) return absl::InvalidArgumentError(kUsage);
  const std::vector<std::string> parts(arguments.begin() + 1, arguments.end());
  return MergeChromeTraces(parts, arguments[0]);
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
