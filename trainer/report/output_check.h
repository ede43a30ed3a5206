#ifndef HETERO_TRAINER_REPORT_OUTPUT_CHECK_H_
#define HETERO_TRAINER_REPORT_OUTPUT_CHECK_H_

// Finds out before hours of training that their results could not be written.

#include <filesystem>

#include "absl/status/status.h"

namespace hetero {

// Finds that `folder`, which may be missing, can be written, with room for a small file in bytes
// and inodes; finds the same for the file `trace`, unless it is empty, whose content it leaves
// alone. Leaves nothing behind.
// Errors: those of SystemError, naming the path and the field or flag; RESOURCE_EXHAUSTED naming
// the room there is and the room that is needed.
absl::Status CheckOutput(const std::filesystem::path& folder, const std::filesystem::path& trace);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_OUTPUT_CHECK_H_
