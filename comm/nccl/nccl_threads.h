#ifndef HETERO_COMM_NCCL_NCCL_THREADS_H_
#define HETERO_COMM_NCCL_NCCL_THREADS_H_

// The ranks of a run as threads of this process, all of which see all calls of all.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/comm/nccl/nccl_run.h"
#include "hetero/comm/threads/threads_state.h"

namespace hetero::internal {

class NcclThreads final : public NcclRun {
 public:
  // A call that has waited for `timeout` ends the run.
  NcclThreads(int64_t num_ranks, absl::Duration timeout);
  ~NcclThreads() override;

  int64_t num_ranks() const override { return state_.num_ranks(); }
  bool aborted() const override { return state_.aborted(); }
  absl::Status cause() const override { return state_.cause(); }
  absl::Status AbortedError(std::string_view call) const override {
    return state_.AbortedError(call);
  }
  void Abort(const absl::Status& cause) override { state_.Abort(cause); }
  absl::Duration Now() override { return state_.clock().Now(); }
  FlightRing& flight(GlobalRank rank) override { return state_.flight(rank); }
  std::string DescribeLastCalls() const override { return state_.DescribeLastCalls(); }
  std::vector<RankFlight> Flights() const override { return state_.Flights(); }
  absl::StatusOr<std::unique_ptr<NcclPeers>> Peers(const CommunicatorKey& key,
                                                   GroupRank me) override;
  absl::StatusOr<std::unique_ptr<CheckedCommunicator>> Host(
      const CommunicatorKey& key, GroupRank me, const CommunicatorOptions& options) override;

 private:
  struct Group;
  class Member;

  ThreadsState state_;
  absl::Mutex mutex_;
  std::map<CommunicatorKey, std::unique_ptr<Group>> groups_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_THREADS_H_
