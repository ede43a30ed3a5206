#ifndef HETERO_TRAINER_TIMING_TIMED_PROGRAM_H_
#define HETERO_TRAINER_TIMING_TIMED_PROGRAM_H_

// The program of a rank with what each of its operations takes on a machine, found by running it
// on shapes.

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/work_classes.h"
#include "hetero/trainer/timing/call_recorder.h"
#include "hetero/trainer/timing/machine_table.h"
#include "hetero/trainer/timing/simulation.h"

namespace hetero {

// What `op` takes when it calls `calls`.
// On a CPU, ranks move bytes themselves: messages are the sender's work. On GPUs a link carries
// them, and a part of the collectives lies under operations.
TimedOp TimeOperation(const Op& op, const OpCalls& calls, const MachineTable& machine);

// A step that is run on shapes.
struct ShapeStep {
  int64_t step = 0;
  ShapeContents contents;
  double share = 1;  // of the mean
};

// The training program of the ranks of `work`, class of `job`, in the mean of `steps`. At its end
// the hosts tell each other whether the run goes on. Adds to `unknown` the operations that have no
// row in the table.
// Errors: those of running on shapes and of the samples; CANCELLED after a stop signal.
absl::StatusOr<TimedRanks> TimeProgram(const Job& job, const WorkClass& work,
                                       std::span<const ShapeStep> steps,
                                       const MachineTable& machine, const StopSignals& signals,
                                       std::set<std::string>& unknown);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_TIMED_PROGRAM_H_
