#include "hetero/trainer/run_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
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
  const std::filesystem::path path = folder.path() / kResolvedConfigFile;
  std::ofstream file(path);
  file << "# " << options.program << "\n" << ToText(config);
  file.close();
  if (!file) {
    return SystemError(errno != 0 ? errno : EIO, absl::StrCat("cannot write file ", path.native()));
  }
  HETERO_RETURN_IF_ERROR(console.KeepLog(folder.path() / kConsoleLogFile));
  return folder;
}

absl::Status DrawPicture(const RunOptions& options, const Job& job, Console& console) {
  if (options.picture.empty()) return absl::OkStatus();
  const std::filesystem::path path = options.working_folder / options.picture;
  errno = 0;
  std::ofstream file(path);
  file << DrawLayout(*job.layout, job.train);
  file.close();
  if (!file) {
    return SystemError(errno != 0 ? errno : EIO, absl::StrCat("cannot write ", path.native()));
  }
  console.Print(absl::StrCat("picture: ", path.native()));
  return absl::OkStatus();
}

absl::Status WriteTrace(const std::filesystem::path& path, const Layout& layout,
                        std::span<const RankRecord> records, std::span<const GlobalRank> stuck) {
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
  return WriteChromeTrace(path.native(), tracks);
}

}  // namespace hetero
