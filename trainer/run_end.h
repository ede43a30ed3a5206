#ifndef HETERO_TRAINER_RUN_END_H_
#define HETERO_TRAINER_RUN_END_H_

// What there is to say of a run whose ranks have come to their end.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/signals.h"

namespace hetero {

// Closes what `reporter` writes, and prints `profile`, if it is not empty, and the RESULT line of a
// run that began at `start`. `written`: what became of files before. Errors: what could not be
// written, with the result where the console could not; CANCELLED when the run was stopped; those
// of JudgeRun.
absl::Status FinishRun(const std::string& profile, absl::Time start, Reporter& reporter,
                       const StopSignals& signals, Console& console, absl::Status written);

// Tells what RunOptions::walk asks for. Errors: those of the samples and of DescribeWalk.
absl::Status TellWalk(const RunOptions& options, const Job& job,
                      const std::vector<RankRecord>& records);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_END_H_
