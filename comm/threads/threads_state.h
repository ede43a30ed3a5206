#ifndef HETERO_COMM_THREADS_THREADS_STATE_H_
#define HETERO_COMM_THREADS_THREADS_STATE_H_

// What all communicators of a ThreadsWorld share: the abort, the deadline, and what every rank is
// doing, so that a time-out can say who lags.

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
#include "hetero/comm/communicator.h"

namespace hetero::internal {

class Hub;

class ThreadsState {
 public:
  ThreadsState(int64_t num_ranks, absl::Duration timeout);
  ~ThreadsState();

  int64_t num_ranks() const { return static_cast<int64_t>(activities_.size()); }
  absl::Duration timeout() const { return timeout_; }

  // The meeting place of the key's members, made by the first to ask.
  Hub& HubOf(const CommunicatorKey& key);

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

  // What `rank` called last, for messages of its peers.
  void Enter(GlobalRank rank, std::string_view call, std::string_view communicator);
  void Leave(GlobalRank rank);

  // "rank 2 (is in 'llm.tp.norm' on threads[2,3] model)", "rank 2 (left ...)" or "(no call yet)".
  std::string Describe(GlobalRank rank) const;

 private:
  struct alignas(64) Activity {
    mutable absl::Mutex mutex;
    std::string call ABSL_GUARDED_BY(mutex);
    std::string communicator ABSL_GUARDED_BY(mutex);
    bool inside ABSL_GUARDED_BY(mutex) = false;
  };

  const absl::Duration timeout_;
  std::vector<std::unique_ptr<Activity>> activities_;
  std::atomic<bool> aborted_ = false;
  mutable absl::Mutex cause_mutex_;  // a hub may hold its own lock when it takes this one
  absl::Status cause_ ABSL_GUARDED_BY(cause_mutex_);
  absl::Mutex hubs_mutex_;
  std::map<CommunicatorKey, std::unique_ptr<Hub>> hubs_ ABSL_GUARDED_BY(hubs_mutex_);
};

// Enter and Leave.
class ActivityScope {
 public:
  ActivityScope(ThreadsState& state, GlobalRank rank, std::string_view call,
                std::string_view communicator)
      : state_(state), rank_(rank) {
    state_.Enter(rank_, call, communicator);
  }
  ~ActivityScope() { state_.Leave(rank_); }
  ActivityScope(const ActivityScope&) = delete;
  ActivityScope& operator=(const ActivityScope&) = delete;

 private:
  ThreadsState& state_;
  GlobalRank rank_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_THREADS_THREADS_STATE_H_
