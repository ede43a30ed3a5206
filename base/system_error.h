#ifndef HETERO_BASE_SYSTEM_ERROR_H_
#define HETERO_BASE_SYSTEM_ERROR_H_

#include <string_view>

#include "absl/status/status.h"

namespace hetero {

// What a system call said, as "<what>: No space left on device". The code is that of
// absl::ErrnoToStatus, but RESOURCE_EXHAUSTED also for a file above the limit on sizes (EFBIG) and
// for a device that fails (EIO), and INVALID_ARGUMENT for links that turn in a circle (ELOOP). For
// a limit of the process it names the command that raises it, for want of memory as
// OutOfMemoryError does. Precondition: `error`, a value of errno, is not 0.
absl::Status SystemError(int error, std::string_view what);

}  // namespace hetero

#endif  // HETERO_BASE_SYSTEM_ERROR_H_
