#include "hetero/comm/nccl/nccl_rendezvous.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_status.h"
#include "hetero/comm/processes/processes_communicator.h"

namespace hetero::internal {
namespace {

// A call that is this old is told of, and how far a rank is that has not got on for so long. In a
// run that is well there is little of either.
constexpr absl::Duration kOld = absl::Milliseconds(300);

}  // namespace

// Counts what this rank issues. What the others have is compared where all tell it, when nobody
// gets on.
class NcclRendezvous::Member final : public NcclPeers {
 public:
  Member(NcclRendezvous& run, const CommunicatorKey& key, GroupRank me)
      : run_(run), key_(key), text_(ToString("nccl", key)), me_(me) {
    issued_.communicator = text_;
    absl::MutexLock lock(&run_.mutex_);
    run_.members_.push_back(this);
  }
  ~Member() override {
    absl::MutexLock lock(&run_.mutex_);
    std::erase(run_.members_, this);
  }

  absl::StatusOr<ncclUniqueId> Id() override {
    Rendezvous& rendezvous = run_.state_->rendezvous();
    const std::string name = absl::StrCat("id of ", text_);
    ncclUniqueId id;
    if (me_ == GroupRank(0)) {
      HETERO_RETURN_IF_ERROR(ToStatus(ncclGetUniqueId(&id), "ncclGetUniqueId"));
      HETERO_RETURN_IF_ERROR(
          rendezvous.Put(name, std::string_view(id.internal, sizeof(id.internal))));
      return id;
    }
    HETERO_ASSIGN_OR_RETURN(const std::string text, rendezvous.Get(name, key_.members.front()));
    if (text.size() != sizeof(id.internal)) {
      return absl::InternalError(absl::StrCat(name, " has ", text.size(), " bytes"));
    }
    std::memcpy(id.internal, text.data(), text.size());
    return id;
  }

  absl::StatusOr<IssueLog::Place> Collective(const Call& call) override {
    // For the host a call ends when it is issued.
    run_.state_->BeginCall(call.name, text_);
    run_.state_->EndCall();
    absl::MutexLock lock(&mutex_);
    return IssueLog::Place{.member = me_,
                           .collective = static_cast<uint64_t>(++issued_.num_collectives)};
  }

  absl::StatusOr<IssueLog::Place> Exchange(std::span<const PostedMessage> messages) override {
    run_.state_->GotOn();
    absl::MutexLock lock(&mutex_);
    IssueLog::Place place = {.member = me_};
    for (const PostedMessage& message : messages) {
      MessageCounts& counts = CountsWith(RankOf(message.peer));
      int64_t& count = message.is_send ? counts.num_sends : counts.num_receives;
      place.messages.push_back({message.peer, message.is_send, static_cast<uint64_t>(++count)});
    }
    return place;
  }

  absl::Status Look(std::span<NcclCall* const> calls, int64_t num_ended) override {
    if (num_ended > 0) run_.state_->GotOn();
    absl::MutexLock lock(&mutex_);
    oldest_.reset();
    if (!calls.empty() && run_.Now() - calls.front()->issued > kOld) oldest_ = *calls.front();
    return absl::OkStatus();
  }

  std::optional<absl::Duration> OldestIssued() {
    absl::MutexLock lock(&mutex_);
    if (!oldest_.has_value()) return std::nullopt;
    return oldest_->issued;
  }
  IssuedCalls issued() {
    absl::MutexLock lock(&mutex_);
    return issued_;
  }
  void DescribeOldest(RankActivity& activity) {
    absl::MutexLock lock(&mutex_);
    if (!oldest_.has_value()) return;
    activity.in_call = true;
    activity.call = absl::StrCat(oldest_->what, " on ", text_);
    activity.communicator = text_;
    const IssueLog::Place& place = oldest_->place;
    activity.collective = static_cast<int64_t>(place.collective);
    activity.waits_for.clear();
    activity.needs.clear();
    if (place.collective > 0) {
      for (const GlobalRank rank : key_.members) {
        if (rank == RankOf(me_)) continue;
        activity.needs.push_back({.peer = rank, .num_collectives = activity.collective});
      }
    }
    for (const IssueLog::Place::Message& message : place.messages) {
      // What the peer receives is what this rank sends.
      const auto number = static_cast<int64_t>(message.number);
      activity.needs.push_back({.peer = RankOf(message.peer),
                                .num_sends = message.is_send ? 0 : number,
                                .num_receives = message.is_send ? number : 0});
    }
  }

 private:
  GlobalRank RankOf(GroupRank member) const {
    return key_.members[static_cast<size_t>(member.value())];
  }
  MessageCounts& CountsWith(GlobalRank peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = std::ranges::find(issued_.messages, peer, &MessageCounts::peer);
    if (found != issued_.messages.end()) return *found;
    return issued_.messages.emplace_back(MessageCounts{.peer = peer});
  }

  NcclRendezvous& run_;
  const CommunicatorKey key_;
  const std::string text_;
  const GroupRank me_;
  absl::Mutex mutex_;
  IssuedCalls issued_ ABSL_GUARDED_BY(mutex_);
  std::optional<NcclCall> oldest_ ABSL_GUARDED_BY(mutex_);
};

NcclRendezvous::NcclRendezvous(std::unique_ptr<ProcessesState> state) : state_(std::move(state)) {
  state_->SetDescribe([this](RankActivity& activity) { Describe(activity); });
}
NcclRendezvous::~NcclRendezvous() { state_->SetDescribe(nullptr); }

absl::StatusOr<std::unique_ptr<NcclRendezvous>> NcclRendezvous::Create(Rendezvous& rendezvous) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ProcessesState> state,
                          ProcessesState::Create(rendezvous));
  return std::unique_ptr<NcclRendezvous>(new NcclRendezvous(std::move(state)));
}

absl::StatusOr<std::unique_ptr<NcclPeers>> NcclRendezvous::Peers(const CommunicatorKey& key,
                                                                 GroupRank me) {
  return std::make_unique<Member>(*this, key, me);
}

absl::StatusOr<std::unique_ptr<CheckedCommunicator>> NcclRendezvous::Host(
    const CommunicatorKey& key, GroupRank me, const CommunicatorOptions& options) {
  return ProcessesCommunicator::Create(key, me, options, *state_);
}

void NcclRendezvous::Describe(RankActivity& activity) {
  absl::MutexLock lock(&mutex_);
  Member* oldest = nullptr;
  absl::Duration since = absl::InfiniteDuration();
  for (Member* member : members_) {
    const std::optional<absl::Duration> issued = member->OldestIssued();
    if (!issued.has_value() || *issued >= since) continue;
    since = *issued;
    oldest = member;
  }
  const absl::Duration now = Now();
  if (activity.progress != progress_) {
    progress_ = activity.progress;
    progress_since_ = now;
  }
  if (now - progress_since_ > kOld) {
    for (Member* member : members_) activity.issued.push_back(member->issued());
  }
  if (oldest != nullptr && activity.waits_for.empty()) oldest->DescribeOldest(activity);
}

}  // namespace hetero::internal
