#include "hetero/trainer/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "absl/cleanup/cleanup.h"
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

absl::StatusOr<std::string> ReadText(const std::filesystem::path& path,
                                     const StopSignals& signals) {
  // A read that waits would be started again after a signal; poll() is not.
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  const auto error = [&path] {
    return SystemError(errno, absl::StrCat("cannot read ", path.native()));
  };
  if (descriptor < 0) return error();
  const absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  std::string text;
  char piece[4096];
  while (true) {
    if (signals.requested() != 0) {
      return absl::CancelledError(absl::StrCat("stopped by signal ", signals.requested(), ": ",
                                               path.native(), " was not read to its end"));
    }
    pollfd readable = {.fd = descriptor, .events = POLLIN, .revents = 0};
    constexpr int kTimeoutMs = 200;
    if (poll(&readable, 1, kTimeoutMs) <= 0) continue;
    const ssize_t size = read(descriptor, piece, sizeof(piece));
    if (size == 0) return text;
    if (size > 0) {
      text.append(piece, static_cast<size_t>(size));
    } else if (errno != EAGAIN && errno != EINTR) {
      return error();
    }
  }
}

}  // namespace hetero
