#ifndef HETERO_TRAINER_PROCESS_H_
#define HETERO_TRAINER_PROCESS_H_

// What a process inherits from whoever started it, brought into a state that a run can rely on.

#include <filesystem>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero {

// Opens those of the descriptors 0 to 2 that are closed, so that no file of the run becomes one of
// them and collects what is printed; reading and writing them still fails. Ignores SIGPIPE and
// SIGXFSZ: the write that meets them fails instead. Keeps a reserve of memory, which the first
// refusal of operator new frees, so that the refusal can be told; where it, or that of a thread,
// leaves a place that lets nothing out, such as a destructor, the process ends with exit code 7 and
// a message instead of an abort. Comes before anything that opens a file.
// Errors: those of opening /dev/null.
absl::Status PrepareProcess();

// Where the command was typed: `bazel run` starts programs elsewhere.
// Errors: RESOURCE_EXHAUSTED when that folder is gone.
absl::StatusOr<std::filesystem::path> WorkingFolder();

}  // namespace hetero

#endif  // HETERO_TRAINER_PROCESS_H_
