#ifndef HETERO_COMM_NCCL_NCCL_RANKS_H_
#define HETERO_COMM_NCCL_NCCL_RANKS_H_

// The ranks of this process, threads or the only one, and what they have of communicators.

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/nccl/nccl_member.h"
#include "hetero/comm/nccl/nccl_run.h"
#include "hetero/comm/rank_world.h"
#include "hetero/tensor/device.h"

namespace hetero::internal {

class NcclRanks final : public RankWorld {
 public:
  // `devices`: of the ranks of this process. Errors: INVALID_ARGUMENT naming a rank without a GPU
  // or two that share one; those of StartThread.
  static absl::StatusOr<std::unique_ptr<NcclRanks>> Start(std::unique_ptr<NcclRun> run,
                                                          std::map<GlobalRank, Device> devices);
  ~NcclRanks() override;

  std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank) override;
  void Abort(const absl::Status& cause) override { run_->Abort(cause); }
  absl::Status HealthCheck() const override { return run_->cause(); }
  std::string DescribeLastCalls() const override { return run_->DescribeLastCalls(); }
  std::vector<RankFlight> Flights() const override { return run_->Flights(); }

 private:
  class RankFactory;

  NcclRanks(std::unique_ptr<NcclRun> run, std::map<GlobalRank, Device> devices);

  absl::StatusOr<std::unique_ptr<Communicator>> Create(GlobalRank self, const CommunicatorKey& key,
                                                       const CommunicatorOptions& options);
  std::vector<NcclMember*> Members();
  // Until the run is aborted, or the ranks are gone and what they left has finished.
  void Watch();

  const std::unique_ptr<NcclRun> run_;
  const std::map<GlobalRank, Device> devices_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<NcclMember>> members_ ABSL_GUARDED_BY(mutex_);  // as made
  absl::Notification done_;
  std::thread watchdog_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_RANKS_H_
