#ifndef HETERO_TRAINER_EXIT_CODE_H_
#define HETERO_TRAINER_EXIT_CODE_H_

// How a training process ends, for job scripts. Only main() exits; everybody else returns a Status.

#include <span>
#include <string_view>

#include "absl/status/status.h"

namespace hetero {

enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,        // a bug of this program
  kConfig = 2,          // the run as described cannot work: flags, config, paths, layout
  kData = 3,            // a data set is corrupt
  kCommunication = 4,   // a rank failed, left, or was too slow; starting again may help
  kDiverged = 5,        // gradients or the loss stayed infinite or NaN
  kStopped = 6,         // SIGINT or SIGTERM: the step or batch in work was finished
  kOutOfResources = 7,  // memory, device memory, threads or disk
  kNotReproduced = 17,  // a replay did not give the numbers of its capsule
  kFolderInUse = 23,    // another run saves its checkpoints there
  kSavesFail = 24,      // checkpoints could not be saved again and again
  kCheckpointDamaged = 25,
};

struct ExitCodeMeaning {
  ExitCode code;
  std::string_view meaning;  // for users, without a full stop
};

// Every code, ascending: what --help prints and the READMEs show.
std::span<const ExitCodeMeaning> ExitCodeTable();

// `status`, an error, with an exit code that its own code does not have.
absl::Status WithExitCode(absl::Status status, ExitCode code);

// FAILED_PRECONDITION whose exit code is kDiverged.
absl::Status DivergedError(std::string_view message);

// That of WithExitCode; else by code: CANCELLED kStopped; INVALID_ARGUMENT, NOT_FOUND,
// ALREADY_EXISTS, PERMISSION_DENIED, UNAUTHENTICATED, FAILED_PRECONDITION, OUT_OF_RANGE,
// UNIMPLEMENTED kConfig; DATA_LOSS kData; ABORTED, UNAVAILABLE, DEADLINE_EXCEEDED kCommunication;
// RESOURCE_EXHAUSTED kOutOfResources; the rest kInternal.
ExitCode ExitCodeFor(const absl::Status& status);

}  // namespace hetero

#endif  // HETERO_TRAINER_EXIT_CODE_H_
