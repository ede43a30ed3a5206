#ifndef HETERO_TRAINER_RUN_FILES_H_
#define HETERO_TRAINER_RUN_FILES_H_

// Files that a run leaves, beside the event file.

#include <filesystem>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

// What every rank did when. Ranks of one module are shown together, colocated ones under their
// first module. `stuck` ranks still write their records. Errors: as above.
absl::Status WriteTrace(const std::filesystem::path& path, const Layout& layout,
                        std::span<const RankRecord> records,
                        std::span<const GlobalRank> stuck = {});

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_FILES_H_
