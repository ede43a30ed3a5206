#ifndef HETERO_TENSOR_CUDA_STREAM_PRIORITY_H_
#define HETERO_TENSOR_CUDA_STREAM_PRIORITY_H_

#include "absl/status/status.h"

namespace hetero::cuda {

// From now on the kernels of `stream` get multiprocessors as they fall free, before the blocks of
// other streams' kernels that have not started.
// Errors: those of runtime.h.
absl::Status PutFirst(int ordinal, void* stream);

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_CUDA_STREAM_PRIORITY_H_
