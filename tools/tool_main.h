#ifndef HETERO_TOOLS_TOOL_MAIN_H_
#define HETERO_TOOLS_TOOL_MAIN_H_

// The frame of a command-line tool.

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace hetero {

// Runs `tool` in a prepared process and returns the exit code of its status, whose message goes to
// standard error. Exceptions are statuses too, and so is standard output that cannot be written.
int ToolMain(absl::FunctionRef<absl::Status()> tool);

}  // namespace hetero

#endif  // HETERO_TOOLS_TOOL_MAIN_H_
