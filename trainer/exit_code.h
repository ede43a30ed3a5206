#ifndef HETERO_TRAINER_EXIT_CODE_H_
#define HETERO_TRAINER_EXIT_CODE_H_

// How a training process ends, for job scripts. Only main() exits; everybody else returns a Status.

#include "absl/status/status.h"

namespace hetero {

enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,        // a bug of this program
  kConfig = 2,          // the run as described cannot work: flags, config, paths, layout
  kData = 3,            // a data set is corrupt
  kCommunication = 4,   // a rank failed, left, or was too slow; starting again may help
  kStopped = 6,         // SIGINT or SIGTERM: the step was finished
  kOutOfResources = 7,  // memory, device memory or disk
};

// CANCELLED kStopped; INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
// UNAUTHENTICATED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED kConfig; DATA_LOSS kData;
// ABORTED, UNAVAILABLE, DEADLINE_EXCEEDED kCommunication; RESOURCE_EXHAUSTED kOutOfResources; the
// rest kInternal.
ExitCode ExitCodeFor(const absl::Status& status);

}  // namespace hetero

#endif  // HETERO_TRAINER_EXIT_CODE_H_
