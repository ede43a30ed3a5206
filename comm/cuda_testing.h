#ifndef HETERO_COMM_CUDA_TESTING_H_
#define HETERO_COMM_CUDA_TESTING_H_

// Laws that every backend keeps on GPU memory, for the tests of each. In every one the streams of
// the ranks lag behind each other in turn, inputs are written on the stream just before they are
// sent and overwritten on it right after, and nothing waits on the host before the end: a backend
// that reads or writes too early or too late gives other bits.

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// What a rank of a test has of its GPU.
class GpuRank {
 public:
  GpuRank(GlobalRank rank, Device device);

  GlobalRank rank() const { return rank_; }
  Stream& stream() { return *stream_; }

  // Queues some milliseconds of work for every `num_ranks`-th `turn`, another for each rank.
  absl::Status Lag(int64_t turn, int64_t num_ranks);

 private:
  GlobalRank rank_;
  MemoryLedger memory_;
  Arena workspace_;
  Buffer load_;
  std::unique_ptr<Stream> stream_;
};

using GpuRankFunction = std::function<absl::Status(GpuRank&, CommunicatorFactory&)>;

// RunRanks with a rank on each of `options.devices`, under AbortOnFailure.
absl::Status RunGpuRanks(const RunRanksOptions& options, const GpuRankFunction& function);

// The sum has the bits of a sum in rank order on the host, in place and apart.
absl::Status AllReduceEqualsTheHost(const RunRanksOptions& options, DType dtype, ReduceOp op,
                                    int64_t count);

// Bitwise, in place. `count`: elements of a member's chunk.
absl::Status ReduceScatterThenAllGatherIsAllReduce(const RunRanksOptions& options, int64_t count);

// Uneven rows, some pairs without any.
absl::Status AllToAllThereAndBackIsIdentity(const RunRanksOptions& options, int64_t scale);

absl::Status BroadcastGivesTheRootsValues(const RunRanksOptions& options, int64_t count);

// Several exchanges in flight, each from every member to every member.
absl::Status CrossedExchangesMatchInPostingOrder(const RunRanksOptions& options, int64_t count);

// Rows of several microbatches cross a bridge from one rank to all others, the tensor-parallel
// ranks of another module, and their gradients return, for each plan.
absl::Status BridgeCarriesRowsBothWays(const RunRanksOptions& options);

// The rows of all ranks meet on every rank, whose gradients return.
absl::Status ColocatedBridgeMovesRows(const RunRanksOptions& options);

// One communicator takes tensors of the host between those of the GPU.
absl::Status HostTensorsTakeTurns(const RunRanksOptions& options);

}  // namespace hetero

#endif  // HETERO_COMM_CUDA_TESTING_H_
