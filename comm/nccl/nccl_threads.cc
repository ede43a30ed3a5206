#include "hetero/comm/nccl/nccl_threads.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_status.h"
#include "hetero/comm/threads/threads_communicator.h"

namespace hetero::internal {

// What the members of a communicator share.
struct NcclThreads::Group {
  explicit Group(const CommunicatorKey& key) : log(key.members) {}

  IssueLog log;
  absl::Mutex mutex;
  bool has_id ABSL_GUARDED_BY(mutex) = false;
  ncclUniqueId id ABSL_GUARDED_BY(mutex);
};

class NcclThreads::Member final : public NcclPeers {
 public:
  Member(ThreadsState& state, Group& group, const CommunicatorKey& key, GroupRank me)
      : state_(state), group_(group), members_(key.members), me_(me) {}

  absl::StatusOr<ncclUniqueId> Id() override {
    absl::MutexLock lock(&group_.mutex);
    if (!group_.has_id) {
      HETERO_RETURN_IF_ERROR(ToStatus(ncclGetUniqueId(&group_.id), "ncclGetUniqueId"));
      group_.has_id = true;
    }
    return group_.id;
  }

  absl::StatusOr<IssueLog::Place> Collective(const Call& call) override {
    return group_.log.Collective(me_, call);
  }
  absl::StatusOr<IssueLog::Place> Exchange(std::span<const PostedMessage> messages) override {
    return group_.log.Exchange(me_, messages);
  }

  // Collectives and exchanges are on two streams: one may be late behind another that is not.
  absl::Status Look(std::span<NcclCall* const> calls, int64_t) override {
    const absl::Duration now = state_.clock().Now();
    for (NcclCall* call : calls) {
      const std::vector<GroupRank> laggards = group_.log.Laggards(call->place);
      if (laggards.empty()) call->complete = std::min(call->complete, now);
      if (now - (laggards.empty() ? call->complete : call->issued) > state_.timeout()) {
        return Late(call->what, laggards);
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Late(std::string_view what, std::span<const GroupRank> laggards) {
    const std::string waited =
        absl::StrCat(what, " waited ", absl::FormatDuration(state_.timeout()), " for ");
    if (laggards.empty()) {
      return absl::DeadlineExceededError(
          absl::StrCat(waited, "its GPUs: every member has issued it, and it does not end"));
    }
    return absl::DeadlineExceededError(absl::StrCat(
        waited, absl::StrJoin(laggards, ", ", [&](std::string* out, GroupRank rank) {
          absl::StrAppend(out, state_.Describe(members_[static_cast<size_t>(rank.value())]));
        })));
  }

  ThreadsState& state_;
  Group& group_;
  const std::vector<GlobalRank> members_;
  const GroupRank me_;
};

NcclThreads::NcclThreads(int64_t num_ranks, absl::Duration timeout)
    : state_(num_ranks, timeout, "nccl") {}
NcclThreads::~NcclThreads() = default;

absl::StatusOr<std::unique_ptr<NcclPeers>> NcclThreads::Peers(const CommunicatorKey& key,
                                                              GroupRank me) {
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<Group>& group = groups_[key];
  if (group == nullptr) group = std::make_unique<Group>(key);
  return std::make_unique<Member>(state_, *group, key, me);
}

absl::StatusOr<std::unique_ptr<CheckedCommunicator>> NcclThreads::Host(
    const CommunicatorKey& key, GroupRank me, const CommunicatorOptions& options) {
  return std::make_unique<ThreadsCommunicator>(key, me, options, state_.GroupOf(key));
}

}  // namespace hetero::internal
