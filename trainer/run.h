#ifndef HETERO_TRAINER_RUN_H_
#define HETERO_TRAINER_RUN_H_

// A whole run in this process: checks, data, ranks, training, evaluation, the result.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/signals.h"

namespace hetero {

struct RunOptions {
  proto::RunConfig config = {};
  std::vector<std::string> notes = {};        // sentences to begin with, on how `config` came to be
  std::filesystem::path working_folder = {};  // what relative folders of the configuration begin at
  std::string program = {};                   // one line on what runs, kept with the configuration
  bool dry_run = false;
  bool print_config = false;
  bool profile = false;  // print where the time of a step went
  // Where to write what every rank did when, as a Chrome trace, after the run or its failure;
  // empty: nothing is recorded. Relative to `working_folder`.
  std::filesystem::path trace = {};
  // Where to draw the layout, before anything runs, in a dry run as well; empty: nowhere. Relative
  // to `working_folder`.
  std::filesystem::path picture = {};
  // Told of every step, on the thread of the rank that logs; may be empty.
  std::function<void(const StepMetrics&)> on_step = {};
  // Called instead of an endless wait when the run has failed with `failure` and some rank never
  // comes back: ends the process, whose threads still use all arguments of Run. RunRanksOptions has
  // more. Empty: Run waits.
  std::function<void(const absl::Status& failure)> on_stuck = {};
};

// Prints as it goes and ends with the RESULT line; a dry run or printing the configuration ends
// without. Files are left in a folder of the run's own below logging.folder: run_folder.h. A stop
// signal ends any phase within moments; a step or batch in work is finished first.
// Errors: INVALID_ARGUMENT with every violation of the configuration, one a line; those of data and
// ranks, the first failure of the run with its rank; CANCELLED after a stop signal; those of
// JudgeRun; those of what could not be written, found before training where they can be. With the
// last three the RESULT line of a run that trained is there all the same: in the error where the
// console is what failed.
absl::Status Run(const RunOptions& options, const ModelRegistry& models, Console& console,
                 const StopSignals& signals);

// For people: the message. Of a bug, and of a rank that failed, left or was too slow, all that
// FailureRecord has: what the others did tells nothing of a data set or of want of room.
std::string DescribeFailure(const absl::Status& status);

// The message, what other ranks said, one line each, and the last calls of every rank.
std::string FailureRecord(const absl::Status& status);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_H_
