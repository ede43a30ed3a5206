#ifndef HETERO_TENSOR_CUDA_CUBLAS_LT_STATUS_H_
#define HETERO_TENSOR_CUDA_CUBLAS_LT_STATUS_H_

// Codes of cuBLASLt as absl::Status.

#include <cublasLt.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero::cuda {

// `expression` is what returned `code`. RESOURCE_EXHAUSTED out of memory, INTERNAL else.
inline absl::Status ToStatus(cublasStatus_t code, std::string_view expression) {
  if (code == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::Status(code == CUBLAS_STATUS_ALLOC_FAILED ? absl::StatusCode::kResourceExhausted
                                                         : absl::StatusCode::kInternal,
                      absl::StrCat(expression, ": ", cublasLtGetStatusName(code), " (",
                                   cublasLtGetStatusString(code), ")"));
}

}  // namespace hetero::cuda

// Returns from the calling function unless `expression`, a cublasStatus_t, is a success.
#define HETERO_RETURN_IF_CUBLAS_ERROR(expression) \
  HETERO_RETURN_IF_ERROR(::hetero::cuda::ToStatus((expression), #expression))

#endif  // HETERO_TENSOR_CUDA_CUBLAS_LT_STATUS_H_
