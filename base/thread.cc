#include "hetero/base/thread.h"

#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hetero {

absl::StatusOr<std::thread> StartThread(std::string_view what, std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot start the thread of ", what, ": ", error.code().message(),
        "; the limits on processes (ulimit -u) and on memory (ulimit -v) say how many there can "
        "be"));
  }
}

}  // namespace hetero
