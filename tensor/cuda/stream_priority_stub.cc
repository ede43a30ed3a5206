#include "hetero/tensor/cuda/stream_priority.h"

namespace hetero::cuda {

absl::Status PutFirst(int, void*) {
  return absl::UnimplementedError(
      "this program was built without CUDA; build it with --config=cuda");
}

}  // namespace hetero::cuda
