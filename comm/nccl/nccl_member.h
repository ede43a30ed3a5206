#ifndef HETERO_COMM_NCCL_NCCL_MEMBER_H_
#define HETERO_COMM_NCCL_NCCL_MEMBER_H_

// What one rank has of a communicator: NCCL's handle and the calls that have not ended.

#include <nccl.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/nccl/nccl_run.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

// Poll, Idle and TakeDown are called by the watchdog, everything else by the rank's thread.
class NcclMember {
 public:
  // `run` outlives it.
  NcclMember(NcclRun& run, const CommunicatorKey& key, GroupRank me, Device device,
             std::unique_ptr<NcclPeers> peers);

  const CommunicatorKey& key() const { return key_; }
  GlobalRank rank() const { return key_.members[static_cast<size_t>(me_.value())]; }
  NcclPeers& peers() { return *peers_; }

  // Makes the handle, together with all other members, and connects it to the exchange peers: later
  // one of them may be waiting elsewhere. `parent`: an earlier communicator of the same members,
  // whose connections find new ones without a meeting of their own; null: there is none.
  // Errors: UNAVAILABLE or INTERNAL what NCCL ran into; ABORTED.
  absl::Status Join(const CommunicatorOptions& options, NcclMember* parent);

  // Where messages run. Precondition: Join was fine, here and below.
  Stream& messages() { return *messages_; }

  // Runs `calls` of NCCL as one group and waits until they are queued, which may take the peers'
  // coming where a connection is made. `what` names them, `place` where they stand; null: another
  // call stands for them. Errors: as Join.
  absl::Status Queue(std::string_view what, const IssueLog::Place* place,
                     absl::FunctionRef<ncclResult_t(ncclComm_t)> calls);

  // The call named `what` ends where `stream` is now.
  absl::Status Track(std::string what, IssueLog::Place place, Stream& stream);

  // Makes `status` the cause of the run's abort, put down to this rank, and returns it with the
  // communicator before its text.
  absl::Status Fail(const absl::Status& status);
  // ABORTED, for `what`. Precondition: the run is aborted.
  absl::Status Aborted(std::string_view what) const;

  // Forgets finished calls; fails the run when one ended in an error or waits for too long.
  void Poll();

  // Whether every tracked call has finished.
  bool Idle();

  // Ends the kernels and frees what NCCL has, on a thread added to `threads`: from now on calls are
  // ABORTED. Precondition: the run is aborted, or all calls are over.
  void TakeDown(std::vector<std::thread>& threads);

 private:
  struct Outstanding {
    NcclCall call;
    Event end;
  };

  absl::Status MakeHandle(NcclMember* parent);
  absl::Status Connect(const CommunicatorOptions& options);
  // Until NCCL has queued what it took, or, after a failure, has let go of it.
  absl::Status AwaitQueued(std::string_view what);
  absl::Status PollUntilQueued(std::string_view what);
  absl::Status LookAtCalls();

  NcclRun& run_;
  const CommunicatorKey key_;
  const std::string text_;  // "nccl[0,2] model"
  const GroupRank me_;
  const Device device_;
  const std::unique_ptr<NcclPeers> peers_;
  MemoryLedger memory_;
  Buffer scratch_;
  Arena no_workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  std::unique_ptr<Stream> messages_;
  absl::Notification released_;  // NCCL uses no stream of the rank any more
  absl::Mutex mutex_;            // NCCL takes one call on a handle at a time
  ncclComm_t handle_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null before Join and after TakeDown
  std::optional<NcclCall> queueing_ ABSL_GUARDED_BY(mutex_);
  std::deque<Outstanding> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<Event> spare_events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_MEMBER_H_
