#ifndef HETERO_COMM_ABORTED_BY_H_
#define HETERO_COMM_ABORTED_BY_H_

#include <string_view>

#include "absl/status/status.h"

namespace hetero {

// ABORTED "<call>: the run was aborted by its first failure: ..." with the code and text of
// `cause`: what every call returns once the run has failed.
absl::Status AbortedBy(const absl::Status& cause, std::string_view call);

}  // namespace hetero

#endif  // HETERO_COMM_ABORTED_BY_H_
