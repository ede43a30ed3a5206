#ifndef HETERO_COMM_THREADS_THREADS_WORLD_H_
#define HETERO_COMM_THREADS_THREADS_WORLD_H_

// The backend for ranks that are threads of this process and share its memory. Members of a
// collective meet, publish the addresses of their tensors, and each reduces its slice reading the
// peers in rank order, so results are bitwise the same whatever the timing. Small tensors travel
// inside the meeting itself. A waiting rank spins for a few microseconds and then blocks: ranks may
// be more than cores.
//
// Several ranks may also share a GPU, each with streams of its own: they exchange addresses and
// events, and the rest happens in stream order; no host waits for the GPU. That is for tests of
// many ranks on one GPU: ranks with a GPU each use NCCL.
//
//   ThreadsWorld world(4);
//   auto factory = world.Factory(GlobalRank(2));            // on the thread of rank 2
//   auto communicator = factory->Create({"model", {GlobalRank(2), GlobalRank(3)}});

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rank_world.h"

namespace hetero {

namespace internal {
class ThreadsState;
}  // namespace internal

struct ThreadsOptions {
  // How long one wait for peers may take before the run is aborted with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::Minutes(5);
};

// Thread-safe.
class ThreadsWorld final : public RankWorld {
 public:
  explicit ThreadsWorld(int64_t num_ranks, ThreadsOptions options = {});
  ~ThreadsWorld() override;
  ThreadsWorld(const ThreadsWorld&) = delete;
  ThreadsWorld& operator=(const ThreadsWorld&) = delete;

  int64_t num_ranks() const;

  // Its Create does not wait for the other members.
  std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank) override;
  void Abort(const absl::Status& cause) override;
  absl::Status HealthCheck() const override;
  std::string DescribeLastCalls() const override;
  std::vector<RankFlight> Flights() const override;

 private:
  std::unique_ptr<internal::ThreadsState> state_;
};

}  // namespace hetero

#endif  // HETERO_COMM_THREADS_THREADS_WORLD_H_
