#include "hetero/trainer/run_files.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/comm/flight.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/data/file/file.h"
#include "hetero/telemetry/chrome_trace.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/report/grid_text.h"
#include "hetero/trainer/report/picture.h"

namespace hetero {
namespace {

// "language", or "radio_encoder + language" where they share the rank.
std::string NamesOfGrids(const Layout& layout, GlobalRank rank) {
  std::string names;
  for (const Grid& grid : layout.grids()) {
    if (!grid.Contains(rank)) continue;
    absl::StrAppend(&names, names.empty() ? "" : " + ", grid.name());
  }
  return names;
}

}  // namespace

absl::StatusOr<RunFolder> OpenRunFolder(const RunOptions& options, const proto::RunConfig& config,
                                        Console& console) {
  HETERO_ASSIGN_OR_RETURN(RunFolder folder,
                          RunFolder::Create(options.working_folder / config.logging().folder()));
  HETERO_RETURN_IF_ERROR(
      data::WriteFileAtomically(folder.path() / kResolvedConfigFile,
                                absl::StrCat("# ", options.program, "\n", ToText(config))));
  HETERO_RETURN_IF_ERROR(console.KeepLog(folder.path() / kConsoleLogFile));
  return folder;
}

absl::Status DrawPicture(const RunOptions& options, const Job& job, Console& console) {
  if (options.picture.empty()) return absl::OkStatus();
  const std::filesystem::path path = options.working_folder / options.picture;
  HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(path, DrawLayout(*job.layout, job.train)));
  console.Print(absl::StrCat("picture: ", path.native()));
  return absl::OkStatus();
}

std::string RoleOf(const Layout& layout, GlobalRank rank) {
  std::vector<std::string> roles;
  for (const Grid& grid : layout.grids()) {
    if (!grid.Contains(rank)) continue;
    std::string& role = roles.emplace_back(grid.name());
    for (const AxisSize& axis : grid.base().axes()) {
      if (axis.size == 1) continue;
      absl::StrAppend(&role, ", ", AxisName(axis.axis), " ", grid.Coord(rank, axis.axis));
    }
  }
  return absl::StrJoin(roles, " + ");
}

absl::Status WriteFlights(const std::filesystem::path& folder, const absl::Status& failure,
                          const Layout& layout, std::span<const RankRecord> records) {
  const std::optional<absl::Cord> payload = failure.GetPayload(kFlightsPayload);
  if (!payload.has_value()) return absl::OkStatus();
  const std::filesystem::path flights = folder / "flight";
  std::error_code code;
  std::filesystem::create_directories(flights, code);
  if (code) return SystemError(code.value(), absl::StrCat("cannot make ", flights.native()));
  const std::string lines(*payload);
  for (const std::string_view line : absl::StrSplit(lines, '\n')) {
    HETERO_ASSIGN_OR_RETURN(RankFlight flight, ParseRankFlight(line));
    flight.role = RoleOf(layout, flight.rank);
    flight.operation = records[static_cast<size_t>(flight.rank.value())].operation.ToString();
    const std::filesystem::path path = flights / absl::StrCat("rank", flight.rank.value(), ".json");
    HETERO_RETURN_IF_ERROR(data::WriteFileAtomically(path, absl::StrCat(ToJson(flight), "\n")));
  }
  return absl::OkStatus();
}

absl::Status WriteTrace(const std::filesystem::path& path, const Layout& layout,
                        std::span<const RankRecord> records, std::span<const GlobalRank> stuck,
                        absl::Duration clock_ahead) {
  std::vector<TraceTrack> tracks;
  for (size_t r = 0; r < records.size(); ++r) {
    if (std::ranges::find(stuck, GlobalRank(static_cast<int64_t>(r))) != stuck.end()) continue;
    const auto rank = static_cast<int64_t>(r);
    const auto grid = std::ranges::find_if(layout.grids(), [&](const Grid& candidate) {
      return candidate.Contains(GlobalRank(rank));
    });
    tracks.push_back({.process_id = grid - layout.grids().begin(),
                      .process_name = NamesOfGrids(layout, GlobalRank(rank)),
                      .thread_id = rank,
                      .thread_name = RankText(GlobalRank(rank), *grid),
                      .spans = &*records[r].spans});
    for (size_t q = 0; q < records[r].queues.size(); ++q) {
      const QueueSpans& queue = records[r].queues[q];
      if (queue.spans.records().empty()) continue;
      const auto number = static_cast<int64_t>(records.size() * (q + 1) + r);
      tracks.push_back(
          {.process_id = tracks.back().process_id,
           .process_name = tracks.back().process_name,
           .thread_id = number,
           .thread_name = absl::StrCat(RankText(GlobalRank(rank), *grid), " GPU: ", queue.name),
           .spans = &queue.spans});
    }
  }
  return WriteChromeTrace(path.native(), tracks, clock_ahead);
}

std::filesystem::path TracePartPath(std::filesystem::path path, GlobalRank rank) {
  const std::string extension = path.extension().native();
  return path.replace_extension(absl::StrCat(".rank", rank.value(), extension));
}

absl::StatusOr<std::string> MergeTraceParts(const std::filesystem::path& path, int64_t num_ranks) {
  std::vector<std::string> parts;
  int64_t num_missing = 0;
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    parts.push_back(TracePartPath(path, GlobalRank(rank)).native());
    std::error_code code;
    if (!std::filesystem::exists(parts.back(), code)) ++num_missing;
  }
  if (num_missing > 0) {
    return absl::StrCat("trace: ", parts.front(), " and those of the other ranks, ", num_missing,
                        " of them on other machines; //tools:merge_traces makes one of them");
  }
  HETERO_RETURN_IF_ERROR(MergeChromeTraces(parts, path.native()));
  for (const std::string& part : parts) {
    std::error_code code;
    std::filesystem::remove(part, code);
  }
  return absl::StrCat("trace: ", path.native());
}

}  // namespace hetero
