#ifndef HETERO_TRAINER_RUN_FILES_H_
#define HETERO_TRAINER_RUN_FILES_H_

// Files that a run leaves, beside the event file.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/run_options.h"

namespace hetero {

// The run's own folder, with its configuration and what the console shows.
// Errors: those of the file system, naming the path.
absl::StatusOr<RunFolder> OpenRunFolder(const RunOptions& options, const proto::RunConfig& config,
                                        Console& console);

// Nothing without RunOptions::picture. Errors: as above.
absl::Status DrawPicture(const RunOptions& options, const Job& job, Console& console);

// "language, tp 0, dp 1"; modules that share the rank are joined by " + ".
std::string RoleOf(const Layout& layout, GlobalRank rank);

// What ranks of this process left of their calls (kFlightsPayload of `failure`), each in
// `folder`/flight/rank<r>.json; //tools:explain_hang reads them. Errors: as above.
absl::Status WriteFlights(const std::filesystem::path& folder, const absl::Status& failure,
                          const Layout& layout, std::span<const RankRecord> records);

// What every rank did when. Ranks of one module are shown together, colocated ones under their
// first module. `stuck` ranks still write their records. `clock_ahead`: of this process, of the
// trace's. Errors: as above.
absl::Status WriteTrace(const std::filesystem::path& path, const Layout& layout,
                        std::span<const RankRecord> records, std::span<const GlobalRank> stuck = {},
                        absl::Duration clock_ahead = absl::ZeroDuration());

// Where process `rank` writes its part of the trace `path`: of "t.json" "t.rank3.json".
std::filesystem::path TracePartPath(std::filesystem::path path, GlobalRank rank);

// Makes one trace of the parts of all ranks and removes them, and says where it is; parts that are
// not here, on other machines, are named instead. Errors: as above.
absl::StatusOr<std::string> MergeTraceParts(const std::filesystem::path& path, int64_t num_ranks);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_FILES_H_
