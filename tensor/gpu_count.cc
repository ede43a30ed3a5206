#include "hetero/tensor/gpu_count.h"

#include "hetero/tensor/cuda/runtime.h"

namespace hetero {

absl::StatusOr<int> CountGpus() { return cuda::CountDevices(); }

}  // namespace hetero
