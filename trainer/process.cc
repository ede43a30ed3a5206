#include "hetero/trainer/process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/system_error.h"

namespace hetero {

absl::Status PrepareProcess() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest free number is this one. Opened the wrong way round, it works as if closed.
    const int mode = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode) != descriptor) return SystemError(errno, "cannot open /dev/null");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::filesystem::path> WorkingFolder() {
  const char* typed = std::getenv("BUILD_WORKING_DIRECTORY");
  if (typed != nullptr) return std::filesystem::path(typed);
  std::error_code error;
  std::filesystem::path folder = std::filesystem::current_path(error);
  if (error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the folder that the program was started in is gone: ", error.message(),
                     "; change to one that exists and start again"));
  }
  return folder;
}

}  // namespace hetero
