#ifndef HETERO_COMM_THREADS_THREADS_STATE_H_
#define HETERO_COMM_THREADS_THREADS_STATE_H_

// What all communicators of a world of threads share: the abort, the deadline, and the last calls
// of every rank, so that a time-out can say who lags.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/flight.h"
#include "hetero/telemetry/flight_ring.h"

namespace hetero::internal {

class ThreadsGroup;

class ThreadsState {
 public:
  // `backend`: the first word of its communicators' texts, a string literal.
  ThreadsState(int64_t num_ranks, absl::Duration timeout, std::string_view backend);
  ~ThreadsState();

  int64_t num_ranks() const { return static_cast<int64_t>(flights_.size()); }
  absl::Duration timeout() const { return timeout_; }
  AwakeClock& clock() { return clock_; }  // that the timeout is measured by
  std::string_view backend() const { return backend_; }

  // What the members of the key share, made by the first to ask.
  ThreadsGroup& GroupOf(const CommunicatorKey& key);

  // SetCause, then WakeAll.
  void Abort(const absl::Status& cause);
  // Marks the run as aborted; the first cause wins.
  void SetCause(const absl::Status& cause);
  void WakeAll();
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }
  absl::Status cause() const;

  // ABORTED: "<call>: the run was aborted ...", with the cause's code and text.
  // Precondition: aborted().
  absl::Status AbortedError(std::string_view call) const;

  // The last calls of `rank`.
  FlightRing& flight(GlobalRank rank) { return *flights_[static_cast<size_t>(rank.value())]; }

  // "rank 2 (is in 'llm.tp.norm' on threads[2,3] model)", "rank 2 (left ...)" or "(no call yet)".
  std::string Describe(GlobalRank rank);

  // Those of every rank, one a line, below a line that names it.
  std::string DescribeLastCalls() const;
  std::vector<RankFlight> Flights() const;

 private:
  const absl::Duration timeout_;
  AwakeClock clock_;
  const std::string_view backend_;
  std::vector<std::unique_ptr<FlightRing>> flights_;
  std::atomic<bool> aborted_ = false;
  mutable absl::Mutex cause_mutex_;  // a group may hold its own lock when it takes this one
  absl::Status cause_ ABSL_GUARDED_BY(cause_mutex_);
  absl::Mutex groups_mutex_;
  std::map<CommunicatorKey, std::unique_ptr<ThreadsGroup>> groups_ ABSL_GUARDED_BY(groups_mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_THREADS_THREADS_STATE_H_
