#include "hetero/tools/tool_main.h"

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/system_error.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/process.h"

namespace hetero {

int ToolMain(absl::FunctionRef<absl::Status()> tool) {
  absl::Status status = PrepareProcess();
  if (status.ok()) status = CatchExceptions(tool);
  if (std::fflush(stdout) != 0) {
    status.Update(SystemError(errno, "cannot write to standard output"));
  }
  if (!status.ok()) absl::FPrintF(stderr, "%s\n", status.message());
  return static_cast<int>(ExitCodeFor(status));
}

}  // namespace hetero
