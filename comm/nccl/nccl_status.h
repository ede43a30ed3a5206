#ifndef HETERO_COMM_NCCL_NCCL_STATUS_H_
#define HETERO_COMM_NCCL_NCCL_STATUS_H_

// Codes of NCCL as absl::Status.

#include <nccl.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hetero::internal {

// `expression` is what returned `code`; in progress is no error. UNAVAILABLE what the system or a
// remote end refused, INTERNAL else.
inline absl::Status ToStatus(ncclResult_t code, std::string_view expression) {
  if (code == ncclSuccess || code == ncclInProgress) return absl::OkStatus();
  const bool outside = code == ncclSystemError || code == ncclRemoteError;
  return absl::Status(outside ? absl::StatusCode::kUnavailable : absl::StatusCode::kInternal,
                      absl::StrCat(expression, ": ", ncclGetErrorString(code), " (",
                                   ncclGetLastError(nullptr), ")"));
}

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_STATUS_H_
