#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/description.h"
#include "hetero/tensor/cuda/device_code.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::cuda {
namespace {

// Stands for all kernels: they are built for the same GPUs.
__global__ void NothingKernel() {}

}  // namespace

absl::Status ExpectDeviceCode(int ordinal) {
  HETERO_ASSIGN_OR_RETURN(const DeviceDescription gpu, DescribeDevice(ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  cudaFuncAttributes attributes;
  const cudaError_t found = cudaFuncGetAttributes(&attributes, NothingKernel);
  if (found == cudaErrorNoKernelImageForDevice || found == cudaErrorInvalidDeviceFunction) {
    static_cast<void>(cudaGetLastError());
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", ordinal, " is an ", gpu.name, " of compute capability ", gpu.major, ".", gpu.minor,
        ", for which this program has no code; its kernels are for 9.0, Hopper"));
  }
  HETERO_RETURN_IF_CUDA_ERROR(found);
  return absl::OkStatus();
}

}  // namespace hetero::cuda
