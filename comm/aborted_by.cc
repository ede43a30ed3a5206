#include "hetero/comm/aborted_by.h"

#include "absl/strings/str_cat.h"

namespace hetero {

absl::Status AbortedBy(const absl::Status& cause, std::string_view call) {
  return absl::AbortedError(absl::StrCat(
      call, ": the run was aborted by its first failure: ", absl::StatusCodeToString(cause.code()),
      ": ", cause.message()));
}

}  // namespace hetero
