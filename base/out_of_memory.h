#ifndef HETERO_BASE_OUT_OF_MEMORY_H_
#define HETERO_BASE_OUT_OF_MEMORY_H_

// Memory of this machine that was asked for and refused. A limit of the process is the usual cause
// and no message of the system names it.

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace hetero {

// The limits on this process's memory in the units of the commands that show and set them, "the
// limit on address space is 400000 KiB (ulimit -v)", or empty where there are none.
std::string DescribeMemoryLimits();

// RESOURCE_EXHAUSTED: `what`, then the limits of DescribeMemoryLimits, if any, and that to raise
// them may help.
absl::Status OutOfMemoryError(std::string_view what);

}  // namespace hetero

#endif  // HETERO_BASE_OUT_OF_MEMORY_H_
