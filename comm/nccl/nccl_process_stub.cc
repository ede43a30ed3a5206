#include "absl/status/status.h"
#include "hetero/comm/nccl/nccl_process.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclProcess(Rendezvous&, Device) {
  return absl::UnimplementedError(
      "the NCCL backend: this program was built without CUDA; build it with --config=cuda");
}

}  // namespace hetero
