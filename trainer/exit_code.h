#ifndef HETERO_TRAINER_EXIT_CODE_H_
#define HETERO_TRAINER_EXIT_CODE_H_

// How a training process ends, for job scripts. Only main() exits; everybody else returns a Status.

#include "absl/status/status.h"

namespace hetero {

enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,        // a bug of this program
  kConfig = 2,          // the run as described cannot work: flags, config, paths, layout
  kData = 3,            // a data set or a checkpoint is corrupt
  kCommunication = 4,   // a rank failed, left, or was too slow; starting again may help
  kNumerics = 5,        // loss or gradients left the numbers the run accepts
  kStopped = 6,         // SIGINT or SIGTERM: the step was finished and the run saved; resumable
  kOutOfResources = 7,  // memory, device memory or disk
  // Megatron-LM's result disagreement codes, which its job scripts act on.
  kResumeToDisambiguate =
      16,                  // a step gave a wrong result that repeats: run elsewhere from the save
  kFailedValidation = 17,  // the repeated step proved this machine wrong
};

// The exit code that WithExitCode attached, else the one its status code implies:
// CANCELLED kStopped; INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
// UNAUTHENTICATED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED kConfig; DATA_LOSS kData;
// ABORTED, UNAVAILABLE, DEADLINE_EXCEEDED kCommunication; RESOURCE_EXHAUSTED kOutOfResources; the
// rest kInternal.
ExitCode ExitCodeFor(const absl::Status& status);

// `status` with an exit code that its status code does not imply; it survives Annotate. The first
// one attached stays.
// Precondition: neither `status` nor `code` is OK.
absl::Status WithExitCode(absl::Status status, ExitCode code);

}  // namespace hetero

#endif  // HETERO_TRAINER_EXIT_CODE_H_
