#ifndef HETERO_COMM_LOOPBACK_LOOPBACK_H_
#define HETERO_COMM_LOOPBACK_LOOPBACK_H_

// The backend for one rank that runs its part of a plan alone. No call waits; what peers would have
// sent is made up so that numbers stay finite:
//   sums          peers add zeros
//   max, min      peers hold what this rank holds
//   all-gather    every chunk is this rank's
//   others        peers send zeros; rows for itself arrive

#include <cstdint>
#include <memory>

#include "hetero/comm/communicator.h"

namespace hetero {

// The factory of `rank`, one of `world_size`. Tensors are in host memory or on the shape-only
// device. After AbortAll its communicators fail with ABORTED. Thread-safe apart from Create.
std::unique_ptr<CommunicatorFactory> LoopbackFactory(GlobalRank rank, int64_t world_size);

}  // namespace hetero

#endif  // HETERO_COMM_LOOPBACK_LOOPBACK_H_
