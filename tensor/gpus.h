#ifndef HETERO_TENSOR_GPUS_H_
#define HETERO_TENSOR_GPUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hetero {

// GPUs that this process sees: ordinals of Device below this number.
// Errors: FAILED_PRECONDITION there is none, or no driver; UNIMPLEMENTED built without CUDA.
absl::StatusOr<int> CountGpus();

// Errors: FAILED_PRECONDITION this program was built for other GPUs than `ordinal`; those of
// CountGpus.
absl::Status ExpectGpuCode(int ordinal);

// For people: "GPU 0: NVIDIA H200, 139.8 GiB, compute capability 9.0; GPU 1: ...", or "no GPU: ..."
// with the reason.
std::string DescribeGpus();

// What tells GPU `ordinal` from every other. Errors: those of CountGpus.
absl::StatusOr<std::string> GpuUuid(int ordinal);

// "9.0". Errors: those of CountGpus.
absl::StatusOr<std::string> ComputeCapability(int ordinal);

// "CUDA 13.0, driver for 13.1"; empty when built without CUDA.
std::string DescribeCuda();

}  // namespace hetero

#endif  // HETERO_TENSOR_GPUS_H_
