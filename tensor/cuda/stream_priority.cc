#include "hetero/tensor/cuda/stream_priority.h"

#include <cuda_runtime_api.h>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::cuda {

absl::Status PutFirst(int ordinal, void* stream) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  int least = 0, greatest = 0;
  HETERO_RETURN_IF_CUDA_ERROR(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStreamAttrValue value = {};
  value.priority = greatest;
  HETERO_RETURN_IF_CUDA_ERROR(cudaStreamSetAttribute(static_cast<cudaStream_t>(stream),
                                                     cudaStreamAttributePriority, &value));
  return absl::OkStatus();
}

}  // namespace hetero::cuda
