#ifndef HETERO_TENSOR_GPU_COUNT_H_
#define HETERO_TENSOR_GPU_COUNT_H_

#include "absl/status/statusor.h"

namespace hetero {

// GPUs that this process sees: ordinals of Device below this number.
// Errors: FAILED_PRECONDITION there is none, or no driver; UNIMPLEMENTED built without CUDA.
absl::StatusOr<int> CountGpus();

}  // namespace hetero

#endif  // HETERO_TENSOR_GPU_COUNT_H_
