#ifndef HETERO_TRAINER_RUN_OUTPUT_H_
#define HETERO_TRAINER_RUN_OUTPUT_H_

#include <filesystem>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "hetero/trainer/checkpoint/run_checkpoints.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/team.h"

namespace hetero {

// What the process with the logging rank alone has: files of the run, and who writes them.
struct RunOutput {
  std::optional<RunFolder> folder;
  std::filesystem::path path;  // of the folder, known to all processes
  std::unique_ptr<Reporter> reporter;
};

// Makes the run's folder and opens what is written there, and the folders of `checkpoints`, which
// may be null. Collective over the team. `console` outlives what is returned. Errors: those of the
// file system and of OpenFolders, naming the path.
absl::StatusOr<RunOutput> OpenOutput(const RunOptions& options, const Job& job, Team& team,
                                     RunCheckpoints* checkpoints, Console& console);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_OUTPUT_H_
