#ifndef HETERO_TENSOR_CUDA_CUDNN_STATUS_H_
#define HETERO_TENSOR_CUDA_CUDNN_STATUS_H_

// Codes of cuDNN as absl::Status.

#include <cudnn.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero::cuda {

// `expression` is what returned `code`. RESOURCE_EXHAUSTED out of memory, INTERNAL else.
inline absl::Status ToStatus(cudnnStatus_t code, std::string_view expression) {
  if (code == CUDNN_STATUS_SUCCESS) return absl::OkStatus();
  const bool exhausted = code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                         code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  return absl::Status(
      exhausted ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
      absl::StrCat(expression, ": ", cudnnGetErrorString(code)));
}

}  // namespace hetero::cuda

// Returns from the calling function unless `expression`, a cudnnStatus_t, is a success.
#define HETERO_RETURN_IF_CUDNN_ERROR(expression) \
  HETERO_RETURN_IF_ERROR(::hetero::cuda::ToStatus((expression), #expression))

#endif  // HETERO_TENSOR_CUDA_CUDNN_STATUS_H_
