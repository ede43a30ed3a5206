// Says why a run hung or lost a rank, from what its ranks left in its folder.
//
//   bazel run //tools:explain_hang -- runs/2026-11-29_01-02-03

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/comm/flight.h"
#include "hetero/tools/tool_main.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "Says why a run hung or lost a rank: who lags at which call, who waits because of it, and "
    "what\n"
    "every rank did last.\n\n"
    "  explain_hang FOLDER   FOLDER: of the run, its flight folder, or any that holds the files\n"
    "                        rank*.json of all hosts";

absl::StatusOr<RankFlight> ReadFlight(const fs::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    return SystemError(errno != 0 ? errno : EIO, absl::StrCat("cannot read ", path.native()));
  }
  absl::StatusOr<RankFlight> flight = ParseRankFlight(text);
  HETERO_RETURN_IF_ERROR(flight.status()).With(path.native());
  return flight;
}

absl::StatusOr<std::vector<RankFlight>> ReadFolder(fs::path folder) {
  if (fs::is_directory(folder / "flight")) folder /= "flight";
  std::error_code code;
  std::vector<fs::path> paths;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".json" && path.filename().native().starts_with("rank")) {
      paths.push_back(path);
    }
  }
  if (code) return SystemError(code.value(), absl::StrCat("cannot list ", folder.native()));
  if (paths.empty()) {
    return absl::NotFoundError(
        absl::StrCat(folder.native(),
                     " has no rank*.json; a run writes them to its folder's flight/ when it "
                     "ends with exit code 4"));
  }
  std::ranges::sort(paths);
  std::vector<RankFlight> flights;
  for (const fs::path& path : paths) {
    HETERO_ASSIGN_OR_RETURN(flights.emplace_back(), ReadFlight(path));
  }
  return flights;
}

absl::Status Main(std::span<char* const> arguments) {
  if (arguments.size() != 1 || std::string_view(arguments[0]) == "--help") {
    if (arguments.size() != 1) return absl::InvalidArgumentError(kUsage);
    std::printf("%s\n", std::string(kUsage).c_str());
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<RankFlight> flights, ReadFolder(arguments[0]));
  HETERO_ASSIGN_OR_RETURN(const std::string text, ExplainFlights(flights));
  std::printf("%s", text.c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace hetero

int main(int argc, char** argv) {
  return hetero::ToolMain([&] { return hetero::Main(std::span(argv, argc).subspan(1)); });
}
