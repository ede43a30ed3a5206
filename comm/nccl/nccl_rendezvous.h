#ifndef HETERO_COMM_NCCL_NCCL_RENDEZVOUS_H_
#define HETERO_COMM_NCCL_NCCL_RENDEZVOUS_H_

// The one rank of this process, which knows of the others what the rendezvous tells.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/nccl/nccl_run.h"
#include "hetero/comm/processes/processes_state.h"
#include "hetero/comm/rendezvous/rendezvous.h"

namespace hetero::internal {

class NcclRendezvous final : public NcclRun {
 public:
  // `rendezvous` outlives it. Errors: UNAVAILABLE when messages cannot be sent from this machine.
  static absl::StatusOr<std::unique_ptr<NcclRendezvous>> Create(Rendezvous& rendezvous);
  ~NcclRendezvous() override;

  int64_t num_ranks() const override { return state_->rendezvous().world_size(); }
  bool aborted() const override { return state_->interrupted(); }
  absl::Status cause() const override { return state_->rendezvous().HealthCheck(); }
  absl::Status AbortedError(std::string_view call) const override {
    return state_->AbortedError(call);
  }
  void Abort(const absl::Status& cause) override { state_->rendezvous().Abort(cause); }
  absl::Duration Now() override { return MonotonicNow(); }
  FlightRing& flight(GlobalRank) override { return state_->flight(); }
  std::string DescribeLastCalls() const override { return state_->DescribeLastCalls(); }
  std::vector<RankFlight> Flights() const override { return state_->Flights(); }
  absl::StatusOr<std::unique_ptr<NcclPeers>> Peers(const CommunicatorKey& key,
                                                   GroupRank me) override;
  absl::StatusOr<std::unique_ptr<CheckedCommunicator>> Host(
      const CommunicatorKey& key, GroupRank me, const CommunicatorOptions& options) override;

 private:
  class Member;

  explicit NcclRendezvous(std::unique_ptr<ProcessesState> state);

  // What is in flight on the GPU, for those who ask what this rank does.
  void Describe(RankActivity& activity);

  const std::unique_ptr<ProcessesState> state_;
  absl::Mutex mutex_;
  std::vector<Member*> members_ ABSL_GUARDED_BY(mutex_);
  int64_t progress_ ABSL_GUARDED_BY(mutex_) = -1;  // when last asked, and since when it is that
  absl::Duration progress_since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_RENDEZVOUS_H_
