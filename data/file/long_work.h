#ifndef HETERO_DATA_FILE_LONG_WORK_H_
#define HETERO_DATA_FILE_LONG_WORK_H_

#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hetero::data {

// What work of seconds asks and tells while it goes on. Both functions may be empty.
struct LongWork {
  // Whether the user wants an end. Asked many times a second.
  std::function<bool()> stop_requested = {};
  // Takes a line of text for the user.
  std::function<void(std::string_view line)> message = {};

  // CANCELLED, "<what> was not finished", when the user wants an end.
  absl::Status Continue(std::string_view what) const {
    if (!stop_requested || !stop_requested()) return absl::OkStatus();
    return absl::CancelledError(absl::StrCat(what, " was not finished"));
  }

  void Say(std::string_view line) const {
    if (message) message(line);
  }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_FILE_LONG_WORK_H_
