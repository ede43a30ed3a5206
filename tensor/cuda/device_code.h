#ifndef HETERO_TENSOR_CUDA_DEVICE_CODE_H_
#define HETERO_TENSOR_CUDA_DEVICE_CODE_H_

#include "absl/status/status.h"

namespace hetero::cuda {

// Errors: FAILED_PRECONDITION this program has no code for GPU `ordinal`; those of DescribeDevice
// (description.h).
absl::Status ExpectDeviceCode(int ordinal);

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_CUDA_DEVICE_CODE_H_
