#ifndef HETERO_TENSOR_OPS_HOPPER_DEVICE_H_
#define HETERO_TENSOR_OPS_HOPPER_DEVICE_H_

#include "absl/status/statusor.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

// Whether the stream's device has the tensor cores of compute capability 9.0. Others would trap at
// kernels that use them. Errors: INTERNAL.
absl::StatusOr<bool> HasHopperTensorCores(Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_HOPPER_DEVICE_H_
