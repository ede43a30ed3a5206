#ifndef HETERO_COMM_NCCL_NCCL_WORLD_H_
#define HETERO_COMM_NCCL_NCCL_WORLD_H_

// The backend for ranks that have a GPU each, as threads of this process or, by nccl_process.h, as
// processes. Tensors of a GPU go through NCCL, in stream order; tensors of the host go as between
// ranks on the CPU, so that one communicator serves both.
//
// * A collective runs on the caller's stream. Exchanges of a communicator run one after the other
//   on a stream of their own, in posting order: one completes when its peers have come and all
//   earlier ones of the communicator are done. Wait makes the caller's stream wait, not the host.
//   A message of a rank to itself is received by the exchange that sends it.
// * Sums run in an order that the number of members, the size and the links of the GPUs fix: two
//   runs have the same bits, all members have the same bits, but not those of a sum in rank order
//   unless there are two members. A maximum or minimum may drop a NaN.
// * The host waits only where a communicator is made and where it makes a connection on the first
//   use of an algorithm. A communicator connects a rank to its exchange peers and, for collectives,
//   to its neighbours in NCCL's rings and trees; one of the members of an earlier one is split from
//   it.
// * NCCL waits on the device for ever. A watchdog keeps the calls that have not finished. Between
//   threads it aborts the run when one has waited `timeout` for members that have not issued it,
//   which it names, or when all have and it does not end; between processes the rendezvous judges,
//   by what all ranks tell, when no rank has got on for its time-out. An abort ends NCCL's kernels,
//   so that whoever waits for a stream or an event of its GPU goes on; what the stream computed is
//   then void, and the next call returns ABORTED.
// * Multicast over NVLink stays off.

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/rank_world.h"
#include "hetero/tensor/device.h"

namespace hetero {

struct NcclOptions {
  // How long one call may wait for peers before the run is aborted with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::Minutes(5);
};

// Of ranks that are threads. `devices`: of every rank. Its factories' Create waits for all members
// of the key.
// Errors: INVALID_ARGUMENT naming the ranks when two share a GPU or one has none; UNIMPLEMENTED
// built without CUDA; those of StartThread.
absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclWorld(std::vector<Device> devices,
                                                           NcclOptions options = {});

}  // namespace hetero

#endif  // HETERO_COMM_NCCL_NCCL_WORLD_H_
