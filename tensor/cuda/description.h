#ifndef HETERO_TENSOR_CUDA_DESCRIPTION_H_
#define HETERO_TENSOR_CUDA_DESCRIPTION_H_

// What CUDA says of itself and of its devices.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace hetero::cuda {

struct DeviceDescription {
  std::string name;
  int64_t memory_bytes = 0;
  int major = 0;  // of the compute capability
  int minor = 0;
  std::string uuid;  // "GPU-" and hexadecimal digits, of this GPU alone
};

// Errors: those of CountDevices (runtime.h).
absl::StatusOr<DeviceDescription> DescribeDevice(int ordinal);

// "CUDA 13.0, driver for 13.1"; empty when built without CUDA.
std::string DescribeLibrary();

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_CUDA_DESCRIPTION_H_
