#ifndef HETERO_TENSOR_OPS_ATTENTION_CUDNN_VERSION_H_
#define HETERO_TENSOR_OPS_ATTENTION_CUDNN_VERSION_H_

#include <cstdint>

#include "absl/status/status.h"

namespace hetero::internal {

// Versions as cudnnGetVersion has them, 10000 * major + 100 * minor + patch. A library older than
// the one that the program was built with takes its graphs and may compute something else: 9.14
// leaves gradients of attention unwritten that 9.19 writes.
// Errors: FAILED_PRECONDITION where `loaded` is older or of another major version.
absl::Status ExpectCudnnVersion(int64_t loaded, int64_t built_with);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_CUDNN_VERSION_H_
