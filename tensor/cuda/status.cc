#include "hetero/tensor/cuda/status.h"

#include "absl/strings/str_cat.h"

namespace hetero::cuda {

absl::Status ToStatus(cudaError_t code, std::string_view expression) {
  if (code == cudaSuccess) return absl::OkStatus();
  // The runtime keeps the last error for whoever asks next; it has been reported here.
  static_cast<void>(cudaGetLastError());
  const std::string message =
      absl::StrCat(expression, ": ", cudaGetErrorName(code), " (", cudaGetErrorString(code), ")");
  switch (code) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorDevicesUnavailable:
      return absl::FailedPreconditionError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace hetero::cuda
