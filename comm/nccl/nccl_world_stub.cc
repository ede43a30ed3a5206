#include "absl/status/status.h"
#include "hetero/comm/nccl/nccl_world.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclWorld(std::vector<Device>, NcclOptions) {
  return absl::UnimplementedError(
      "the NCCL backend: this program was built without CUDA; build it with --config=cuda");
}

}  // namespace hetero
