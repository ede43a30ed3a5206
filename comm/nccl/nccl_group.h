#ifndef HETERO_COMM_NCCL_NCCL_GROUP_H_
#define HETERO_COMM_NCCL_NCCL_GROUP_H_

// What the members of one communicator share: NCCL's handles and the calls that have not finished.

#include <nccl.h>

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/nccl/issue_log.h"
#include "hetero/comm/threads/threads_state.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

// A member's functions are called by its thread, the others by the watchdog's.
class NcclGroup {
 public:
  // `devices`: of the world's ranks. Both outlive the group.
  NcclGroup(ThreadsState& state, const CommunicatorKey& key, std::span<const Device> devices);

  const std::string& text() const { return text_; }
  IssueLog& log() { return log_; }

  // Makes `me`'s handle, together with all other members, and connects it to each of them: later a
  // peer may be waiting elsewhere.
  // Errors: UNAVAILABLE or INTERNAL what NCCL ran into; DEADLINE_EXCEEDED naming who lags (aborts
  // the run); ABORTED.
  absl::Status Join(GroupRank me);

  // Where messages run. Precondition: Join was fine, here and below.
  Stream& messages(GroupRank me) { return *member(me).messages; }

  // Runs `calls` of NCCL as one group and waits until they are queued, which may take the peers'
  // coming where a connection is made. `what` names them, `place` where they stand.
  // Errors: as Join.
  absl::Status Queue(GroupRank me, std::string_view what, const IssueLog::Place& place,
                     absl::FunctionRef<ncclResult_t(ncclComm_t)> calls);

  // The call named `what` ends where `stream` is now.
  absl::Status Track(GroupRank me, std::string what, IssueLog::Place place, Stream& stream);

  // Makes `status` the cause of the run's abort, put down to `me`, and returns it with the
  // communicator before its text.
  absl::Status Fail(GroupRank me, const absl::Status& status);
  // ABORTED, for `what`. Precondition: the run is aborted.
  absl::Status Aborted(std::string_view what) const;

  // Forgets finished calls; fails the run when one ended in an error or waits for too long.
  void Poll();

  // Whether every tracked call has finished.
  bool Idle();

  // Ends the kernels of all members and frees what NCCL has, adding a thread for each to `threads`:
  // from now on their calls are ABORTED. Precondition: the run is aborted, or all calls are over.
  void TakeDown(std::vector<std::thread>& threads);

 private:
  struct Outstanding {
    std::string what;
    IssueLog::Place place;
    absl::Duration issued;  // by the clock of the deadline, as is the next
    absl::Duration complete = absl::InfiniteDuration();  // when first seen to lack no member
    Event end;
  };
  struct Member {
    absl::Mutex mutex;  // NCCL takes one call on a handle at a time
    ncclComm_t handle ABSL_GUARDED_BY(mutex) = nullptr;  // null before Join and after TakeDown
    absl::Notification released;  // NCCL uses no stream of the member any more
    std::deque<Outstanding> calls ABSL_GUARDED_BY(mutex);
    std::vector<Event> spare_events ABSL_GUARDED_BY(mutex);
    MemoryLedger memory;
    Buffer scratch;
    Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
    std::unique_ptr<Stream> messages;
  };

  Member& member(GroupRank rank) { return *member_states_[static_cast<size_t>(rank.value())]; }
  GlobalRank RankOf(GroupRank member) const {
    return members_[static_cast<size_t>(member.value())];
  }
  // "rank 2 (left ...), rank 3 (...)"
  std::string Describe(std::span<const GroupRank> ranks);
  std::vector<GroupRank> NotJoined();
  absl::StatusOr<ncclUniqueId> Id();
  // Until NCCL has queued what it took, or, after a failure, has let go of it.
  absl::Status AwaitQueued(GroupRank me, std::string_view what,
                           absl::FunctionRef<std::vector<GroupRank>()> laggards);
  absl::Status PollUntilQueued(GroupRank me, std::string_view what,
                               absl::FunctionRef<std::vector<GroupRank>()> laggards);
  // Of `what`, which has waited for the time-out.
  absl::Status Late(std::string_view what, std::span<const GroupRank> laggards);
  absl::Status PollMember(GroupRank rank, absl::Duration now);

  ThreadsState& state_;
  const std::vector<GlobalRank> members_;
  std::vector<Device> devices_;  // of the members
  const std::string text_;       // "nccl[0,2] model"
  IssueLog log_;
  std::vector<std::unique_ptr<Member>> member_states_;
  absl::Mutex join_mutex_;
  bool has_id_ ABSL_GUARDED_BY(join_mutex_) = false;
  ncclUniqueId id_ ABSL_GUARDED_BY(join_mutex_);
  std::vector<bool> joined_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_GROUP_H_
