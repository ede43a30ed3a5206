#ifndef HETERO_TENSOR_CUDA_STATUS_H_
#define HETERO_TENSOR_CUDA_STATUS_H_

// Codes of the CUDA runtime as absl::Status.

#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/status/status.h"
#include "hetero/base/status.h"

namespace hetero::cuda {

// `expression` is what returned `code`. RESOURCE_EXHAUSTED out of memory, FAILED_PRECONDITION no
// such GPU or driver, INTERNAL else: an error that a kernel left behind is INTERNAL and lasts.
absl::Status ToStatus(cudaError_t code, std::string_view expression);

}  // namespace hetero::cuda

// Returns from the calling function unless `expression`, a cudaError_t, is cudaSuccess.
#define HETERO_RETURN_IF_CUDA_ERROR(expression) \
  HETERO_RETURN_IF_ERROR(::hetero::cuda::ToStatus((expression), #expression))

#endif  // HETERO_TENSOR_CUDA_STATUS_H_
