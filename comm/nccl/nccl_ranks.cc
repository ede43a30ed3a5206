#include "hetero/comm/nccl/nccl_ranks.h"

#include <stdlib.h>

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/nccl/nccl_communicator.h"

namespace hetero::internal {
namespace {

// How late the watchdog may be: a time-out is seconds.
constexpr absl::Duration kPollInterval = absl::Milliseconds(10);

absl::Status CheckDevices(const std::map<GlobalRank, Device>& devices) {
  std::map<int, GlobalRank> ranks;
  for (const auto& [rank, device] : devices) {
    if (device.kind != DeviceKind::kCuda) {
      return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " is on ", device.ToString(),
                                                     "; NCCL needs a GPU for each rank"));
    }
    const auto [other, is_first] = ranks.insert({device.ordinal, rank});
    if (is_first) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("ranks ", other->second, " and ", rank, " share ", device.ToString(),
                     "; NCCL needs a GPU for each rank, the threads backend lets ranks share one"));
  }
  return absl::OkStatus();
}

}  // namespace

class NcclRanks::RankFactory final : public CommunicatorFactory {
 public:
  RankFactory(GlobalRank rank, NcclRanks& ranks) : rank_(rank), ranks_(ranks) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(
      const CommunicatorKey& key, const CommunicatorOptions& options) override {
    return ranks_.Create(rank_, key, options);
  }
  void AbortAll(const absl::Status& cause) override { ranks_.Abort(cause); }

 private:
  GlobalRank rank_;
  NcclRanks& ranks_;
};

NcclRanks::NcclRanks(std::unique_ptr<NcclRun> run, std::map<GlobalRank, Device> devices)
    : run_(std::move(run)), devices_(std::move(devices)) {}

absl::StatusOr<std::unique_ptr<NcclRanks>> NcclRanks::Start(std::unique_ptr<NcclRun> run,
                                                            std::map<GlobalRank, Device> devices) {
  HETERO_RETURN_IF_ERROR(CheckDevices(devices));
  // NVLink multicast can put the GPUs of a host out of service. NCCL's configuration of a
  // communicator cannot switch it off, only this can.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/1);
  std::unique_ptr<NcclRanks> ranks(new NcclRanks(std::move(run), std::move(devices)));
  HETERO_ASSIGN_OR_RETURN(ranks->watchdog_,
                          StartThread("NCCL's watchdog", [self = ranks.get()] { self->Watch(); }));
  return ranks;
}

NcclRanks::~NcclRanks() {
  done_.Notify();
  if (watchdog_.joinable()) watchdog_.join();
}

std::unique_ptr<CommunicatorFactory> NcclRanks::Factory(GlobalRank rank) {
  CHECK(devices_.contains(rank));
  return std::make_unique<RankFactory>(rank, *this);
}

absl::StatusOr<std::unique_ptr<Communicator>> NcclRanks::Create(
    GlobalRank self, const CommunicatorKey& key, const CommunicatorOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const GroupRank rank, CheckKey(key, options, self, run_->num_ranks()));
  if (options.on_host) return run_->Host(key, rank, options);
  HETERO_ASSIGN_OR_RETURN(auto peers, run_->Peers(key, rank));
  NcclMember* parent = nullptr;
  NcclMember* member = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    const auto same = std::ranges::find_if(members_, [&](const auto& other) {
      return other->rank() == self && other->key().members == key.members;
    });
    if (same != members_.end()) parent = same->get();
    member = members_
                 .emplace_back(std::make_unique<NcclMember>(*run_, key, rank, devices_.at(self),
                                                            std::move(peers)))
                 .get();
  }
  HETERO_RETURN_IF_ERROR(member->Join(options, parent));
  return std::make_unique<NcclCommunicator>(key, rank, options, *run_, *member);
}

std::vector<NcclMember*> NcclRanks::Members() {
  absl::MutexLock lock(&mutex_);
  std::vector<NcclMember*> members;
  for (const auto& member : members_) members.push_back(member.get());
  return members;
}

void NcclRanks::Watch() {
  while (!run_->aborted()) {
    const bool done = done_.WaitForNotificationWithTimeout(kPollInterval);
    const std::vector<NcclMember*> members = Members();
    for (NcclMember* member : members) member->Poll();
    if (done && std::ranges::all_of(members, [](NcclMember* m) { return m->Idle(); })) break;
    if (done) absl::SleepFor(kPollInterval);
  }
  // Every handle there is or will be: after an abort none is made. Each has a thread: to free one
  // is to wait for its streams, which kernels of another hold up until that one's turn.
  std::vector<std::thread> threads;
  for (NcclMember* member : Members()) member->TakeDown(threads);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace hetero::internal
