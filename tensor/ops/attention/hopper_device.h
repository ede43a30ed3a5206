#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_DEVICE_H_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_DEVICE_H_

// Where the kernels of hopper_forward.h and hopper_backward.h run.

#include <cstdint>

#include "absl/status/statusor.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

constexpr bool SuitsHopperKernels(int64_t head_size) { return head_size == 80 || head_size == 128; }

// Whether the stream's device has the tensor cores of compute capability 9.0. Errors: INTERNAL.
absl::StatusOr<bool> HasHopperTensorCores(Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_DEVICE_H_
