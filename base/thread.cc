#include "hetero/base/thread.h"

#include <sys/resource.h>

#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/out_of_memory.h"

namespace hetero {

absl::StatusOr<std::thread> StartThread(std::string_view what, std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    std::string limits = DescribeMemoryLimits();
    if (rlimit processes = {};
        getrlimit(RLIMIT_NPROC, &processes) == 0 && processes.rlim_cur != RLIM_INFINITY) {
      absl::StrAppend(&limits, limits.empty() ? "" : ", ", "the limit on processes is ",
                      processes.rlim_cur, " (ulimit -u)");
    }
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start the thread of ", what, ": ", error.code().message(), "; ",
                     limits.empty() ? "the machine or the container has no room for one more"
                                    : absl::StrCat(limits, ", raise it")));
  }
}

}  // namespace hetero
