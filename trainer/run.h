#ifndef HETERO_TRAINER_RUN_H_
#define HETERO_TRAINER_RUN_H_

// A whole run in this process: checks, data, ranks, training, evaluation, the result.

#include <string>

#include "absl/status/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/signals.h"

namespace hetero {

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
