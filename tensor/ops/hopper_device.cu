#include <cuda_runtime_api.h>

#include <memory>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/status.h"
#include "hetero/tensor/ops/hopper_device.h"

namespace hetero::internal {
namespace {

// State of a stream.
struct ComputeCapability {
  int major = 0;

  static absl::StatusOr<std::unique_ptr<ComputeCapability>> Create(Stream& stream) {
    auto capability = std::make_unique<ComputeCapability>();
    HETERO_RETURN_IF_CUDA_ERROR(cudaDeviceGetAttribute(
        &capability->major, cudaDevAttrComputeCapabilityMajor, stream.device().ordinal));
    return capability;
  }
};

}  // namespace

absl::StatusOr<bool> HasHopperTensorCores(Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(const ComputeCapability* const capability,
                          stream.State<ComputeCapability>());
  return capability->major == 9;
}

}  // namespace hetero::internal
