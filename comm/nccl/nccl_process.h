#ifndef HETERO_COMM_NCCL_NCCL_PROCESS_H_
#define HETERO_COMM_NCCL_NCCL_PROCESS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "hetero/comm/rank_world.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/tensor/device.h"

namespace hetero {

// The backend of nccl_world.h for ranks that are processes: of the one that joined `rendezvous`,
// which outlives the world.
// Errors: INVALID_ARGUMENT when `device` is no GPU; UNIMPLEMENTED built without CUDA; UNAVAILABLE
// when messages cannot be sent from this machine; those of StartThread.
absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclProcess(Rendezvous& rendezvous, Device device);

}  // namespace hetero

#endif  // HETERO_COMM_NCCL_NCCL_PROCESS_H_
