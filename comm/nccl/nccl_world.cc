#include "hetero/comm/nccl/nccl_world.h"

#include <stdlib.h>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/nccl/nccl_communicator.h"
#include "hetero/comm/nccl/nccl_group.h"
#include "hetero/comm/threads/threads_state.h"

namespace hetero {
namespace {

using internal::NcclGroup;
using internal::ThreadsState;

// How late the watchdog may be: a time-out is seconds.
constexpr absl::Duration kPollInterval = absl::Milliseconds(10);

class NcclWorld final : public RankWorld {
 public:
  NcclWorld(std::vector<Device> devices, const NcclOptions& options)
      : devices_(std::move(devices)),
        state_(static_cast<int64_t>(devices_.size()), options.timeout, "nccl") {}

  ~NcclWorld() override {
    done_.Notify();
    if (watchdog_.joinable()) watchdog_.join();
  }

  absl::Status StartWatchdog() {
    HETERO_ASSIGN_OR_RETURN(watchdog_, StartThread("NCCL's watchdog", [this] { Watch(); }));
    return absl::OkStatus();
  }

  std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank) override;
  void Abort(const absl::Status& cause) override { state_.Abort(cause); }
  absl::Status HealthCheck() const override { return state_.cause(); }
  std::string DescribeLastCalls() const override { return state_.DescribeLastCalls(); }

  int64_t num_ranks() const { return state_.num_ranks(); }
  ThreadsState& state() { return state_; }

  NcclGroup& GroupOf(const CommunicatorKey& key) {
    absl::MutexLock lock(&mutex_);
    std::unique_ptr<NcclGroup>& group = groups_[key];
    if (group == nullptr) group = std::make_unique<NcclGroup>(state_, key, devices_);
    return *group;
  }

 private:
  std::vector<NcclGroup*> Groups() {
    absl::MutexLock lock(&mutex_);
    std::vector<NcclGroup*> groups;
    for (auto& [key, group] : groups_) groups.push_back(group.get());
    return groups;
  }

  // Until the run is aborted, or the ranks are gone and what they left has finished.
  void Watch() {
    while (!state_.aborted()) {
      const bool done = done_.WaitForNotificationWithTimeout(kPollInterval);
      const std::vector<NcclGroup*> groups = Groups();
      for (NcclGroup* group : groups) group->Poll();
      if (done && std::ranges::all_of(groups, [](NcclGroup* group) { return group->Idle(); })) {
        break;
      }
      if (done) absl::SleepFor(kPollInterval);
    }
    // Every handle there is or will be: after an abort none is made. Each has a thread: to free one
    // is to wait for its streams, which kernels of another hold up until that one's turn.
    std::vector<std::thread> threads;
    for (NcclGroup* group : Groups()) group->TakeDown(threads);
    for (std::thread& thread : threads) thread.join();
  }

  const std::vector<Device> devices_;
  ThreadsState state_;
  absl::Mutex mutex_;
  std::map<CommunicatorKey, std::unique_ptr<NcclGroup>> groups_ ABSL_GUARDED_BY(mutex_);
  absl::Notification done_;
  std::thread watchdog_;
};

class NcclFactory final : public CommunicatorFactory {
 public:
  NcclFactory(GlobalRank rank, NcclWorld& world) : rank_(rank), world_(world) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(const CommunicatorKey& key) override {
    HETERO_ASSIGN_OR_RETURN(const GroupRank rank, CheckKey(key, rank_, world_.num_ranks()));
    NcclGroup& group = world_.GroupOf(key);
    HETERO_RETURN_IF_ERROR(group.Join(rank));
    return std::make_unique<internal::NcclCommunicator>(key, rank, world_.state().GroupOf(key),
                                                        group);
  }

  void AbortAll(const absl::Status& cause) override { world_.Abort(cause); }

 private:
  GlobalRank rank_;
  NcclWorld& world_;
};

std::unique_ptr<CommunicatorFactory> NcclWorld::Factory(GlobalRank rank) {
  CHECK(rank.value() >= 0 && rank.value() < num_ranks());
  return std::make_unique<NcclFactory>(rank, *this);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclWorld(std::vector<Device> devices,
                                                           NcclOptions options) {
  for (size_t i = 0; i < devices.size(); ++i) {
    if (devices[i].kind != DeviceKind::kCuda) {
      return absl::InvalidArgumentError(absl::StrCat("rank ", i, " is on ", devices[i].ToString(),
                                                     "; NCCL needs a GPU for each rank"));
    }
    const auto other =
        std::find(devices.begin(), devices.begin() + static_cast<long>(i), devices[i]);
    if (other != devices.begin() + static_cast<long>(i)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ranks ", other - devices.begin(), " and ", i, " share ", devices[i].ToString(),
          "; NCCL needs a GPU for each rank, the threads backend lets ranks share one"));
    }
  }
  // NVLink multicast can put the GPUs of a host out of service. NCCL's configuration of a
  // communicator cannot switch it off, only this can.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/1);
  auto world = std::make_unique<NcclWorld>(std::move(devices), options);
  HETERO_RETURN_IF_ERROR(world->StartWatchdog());
  return world;
}

}  // namespace hetero
