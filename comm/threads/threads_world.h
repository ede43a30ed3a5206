#ifndef HETERO_COMM_THREADS_THREADS_WORLD_H_
#define HETERO_COMM_THREADS_THREADS_WORLD_H_

// The backend for ranks that are threads of this process and share its memory. Members of a
// collective meet, publish the addresses of their tensors, and each reduces its slice reading the
// peers in rank order, so results are bitwise the same whatever the timing. Small tensors travel
// inside the meeting itself. A waiting rank spins for a few microseconds and then blocks: ranks may
// be more than cores.
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

namespace hetero {

namespace internal {
class ThreadsState;
}  // namespace internal

struct ThreadsOptions {
  // How long one wait for peers may take before the run is aborted with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::Minutes(5);
};

// Outlives its factories and their communicators. Thread-safe.
class ThreadsWorld {
 public:
  explicit ThreadsWorld(int64_t num_ranks, ThreadsOptions options = {});
  ~ThreadsWorld();
  ThreadsWorld(const ThreadsWorld&) = delete;
  ThreadsWorld& operator=(const ThreadsWorld&) = delete;

  int64_t num_ranks() const;

  // The factory of one rank, used on that rank's thread only. Its Create does not wait for the
  // other members. Precondition: 0 <= rank < num_ranks().
  std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank);

  // Wakes every rank in every communicator with ABORTED; the first cause wins. `cause` names rank
  // and origin.
  void Abort(const absl::Status& cause);

  // OK, or the cause of the abort.
  absl::Status HealthCheck() const;

  // The last calls of every rank, one a line, at most 16 a rank, below a line that names it.
  std::string DescribeLastCalls() const;

 private:
  std::unique_ptr<internal::ThreadsState> state_;
};

}  // namespace hetero

#endif  // HETERO_COMM_THREADS_THREADS_WORLD_H_
