#ifndef HETERO_COMM_THREADS_THREADS_GROUP_H_
#define HETERO_COMM_THREADS_THREADS_GROUP_H_

// What the members of one communicator share. A collective is NextCall, EnterCall, work on the
// peers' tensors, LeaveCall: entering and leaving are barriers of the members. An exchange posts
// messages into a queue for each pair of members, and the second of a pair to arrive copies.
//
// An abort never leaves a peer reading memory that its owner has taken back: a member turns away
// from a barrier only while others are missing, and a barrier that a member has turned away from
// no longer opens; a message is withdrawn only while nobody copies it.
//
// On a GPU, which the members share, the barriers are the host's alone, and work is queued: a
// member's stream goes on once it has passed the point at which the peers' streams were ready, and
// again once they are done with this member's tensors. The host waits for no stream.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "hetero/comm/collective.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

class ThreadsState;

// Tensors up to this size are copied when a call is entered, which saves the barrier of LeaveCall.
inline constexpr int64_t kInlineBytes = 4096;

// One member's call, as its peers see it.
struct Call {
  // The same as `collective` on `device`. Keeps the memory of what it was before.
  void Set(const Collective& collective, const Device& device);

  CollectiveKind kind = CollectiveKind::kAllReduce;
  std::string name;
  ReduceOp op = ReduceOp::kSum;
  GroupRank root;
  Device device;
  DType dtype = DType::kF32;
  int64_t num_elements = 0;
  const void* input = nullptr;  // in the group when `num_elements` fit into kInlineBytes
  void* output = nullptr;
  std::vector<int64_t> send_rows;  // all-to-all only, as are the next two
  std::vector<int64_t> receive_rows;
  int64_t row_elements = 0;

  // "all_reduce 'x' of 128 f32 (sum)", and " on cuda:0" where it is not the host.
  std::string ToString() const;
};

// Whether two members' calls are one collective, whatever rows they count.
bool SameCall(const Call& a, const Call& b);
// Whether the rows they count are the same, where they count rows; `i` and `j` are their places
// among the members.
bool RowsFit(const Call& a, size_t i, const Call& b, size_t j);

// One side of a point-to-point message. Owned by the handle of the exchange that posted it.
struct Message {
  enum class State : int { kQueued, kCopying, kDone, kWithdrawn };

  GroupRank sender;
  GroupRank receiver;
  bool is_send = false;
  const void* source = nullptr;  // of a send
  void* destination = nullptr;   // of a receive
  DType dtype = DType::kF32;
  int64_t num_elements = 0;
  std::string_view name;
  Device device;
  // On a GPU: until the copy is queued, when the tensor may be read or written; then its end.
  Event event;
  std::atomic<State> state = State::kWithdrawn;
  Message* next = nullptr;     // in its queue
  Message* partner = nullptr;  // the other half, while being copied
};

class ThreadsGroup {
 public:
  ThreadsGroup(ThreadsState& state, const CommunicatorKey& key);

  ThreadsState& state() { return state_; }
  int64_t size() const { return static_cast<int64_t>(members_.size()); }
  const std::string& text() const { return text_; }

  // The place for `me`'s next call, which peers see from EnterCall on.
  Call& NextCall(GroupRank me);

  // Waits until every member has entered its call and compares the calls. With `inline_input`, a
  // small input is copied into the group first, and the caller need not LeaveCall.
  // Errors: INVALID_ARGUMENT naming both calls when two differ, DEADLINE_EXCEEDED naming who lags
  // (both abort the run), ABORTED.
  absl::Status EnterCall(GroupRank me, bool inline_input);

  // All members' calls, in rank order, after EnterCall and until `me` asks for its next.
  std::span<const Call> calls(GroupRank me) { return calls_[member(me).num_calls % 2]; }

  // Waits until every member is done with the tensors of this call.
  void LeaveCall(GroupRank me);

  // On a GPU the first two stand around EnterCall: what is queued on `stream` after the second runs
  // after what every member had queued at the first. The other two stand around LeaveCall likewise.
  // Errors: those of Event.
  absl::Status RecordReady(GroupRank me, Stream& stream);
  absl::Status QueueWaitForReady(Stream& stream) const;
  absl::Status RecordDone(GroupRank me, Stream& stream);
  absl::Status QueueWaitForDone(Stream& stream) const;

  // An event for a message of `me` on a GPU, to be given back when it has served.
  absl::StatusOr<Event> TakeEvent(GroupRank me, Device device);
  void GiveBack(GroupRank me, Event event) { member(me).spare_events.push_back(std::move(event)); }

  // Queues new messages; those that meet their other half are copied here and now. On a GPU the
  // copy is queued: it runs once both events have passed, which then stand for its end. Errors:
  // INVALID_ARGUMENT naming both sides when they differ (aborts the run), ABORTED; all messages are
  // withdrawn then.
  absl::Status Post(GroupRank me, std::span<Message> messages);

  // Waits until `message` is copied, on a GPU until its copy is queued. Errors: DEADLINE_EXCEEDED,
  // ABORTED; it is withdrawn then.
  absl::Status Await(GroupRank me, Message& message);

  // After return nobody touches the messages' memory.
  void Withdraw(GroupRank me, std::span<Message> messages);

  void WakeAll();

 private:
  // What a member has of its GPU. The events, its own to record, are read by all.
  struct DeviceSide {
    Event ready;
    Event done;
    Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
    std::unique_ptr<Stream> copies;  // messages wait here for both ends without holding up either
  };
  struct alignas(64) Member {
    absl::CondVar wake;
    uint64_t num_meetings = 0;  // of this member; it alone writes, under mutex_
    uint64_t num_calls = 0;     // touched by this member only
    std::array<std::unique_ptr<std::byte[]>, 2> inlined;
    std::unique_ptr<DeviceSide> on_device;  // made at its first call on a GPU
    std::vector<Event> spare_events;        // touched by this member only
  };
  struct Queue {
    Message* head = nullptr;
    Message* tail = nullptr;
  };

  Member& member(GroupRank rank) { return *member_states_[static_cast<size_t>(rank.value())]; }
  std::string Who(GroupRank rank) const;
  Queue& QueueOf(GroupRank sender, GroupRank receiver) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(Message& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::StatusOr<DeviceSide*> OnDevice(GroupRank me, Device device);
  absl::Status QueueCopy(GroupRank me, Message& send, Message& receive);

  // Counts the arrival; the last member wakes the others.
  void Arrive(GroupRank me) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Every member has arrived as often as `me`.
  bool Complete(GroupRank me);
  // "rank 2 (left ...), rank 3 (...)" of those who have not.
  std::string Laggards(GroupRank me) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Whether the deadline of a wait that began at `start` has passed.
  bool TooLong(absl::Duration start);

  absl::Status CheckCalls(GroupRank me);
  absl::Status Aborted(std::string_view call) const;
  // Returns `status` with the communicator before its text, and makes it the cause of the run's
  // abort, put down to `me`. The caller wakes everybody once it has released mutex_.
  absl::Status SetCause(GroupRank me, const absl::Status& status);

  ThreadsState& state_;
  const std::vector<GlobalRank> members_;
  const std::string text_;  // "threads[0,2] model"
  std::vector<std::unique_ptr<Member>> member_states_;
  // Of all members, in turn: a peer may still read the last one.
  std::array<std::vector<Call>, 2> calls_;
  absl::Mutex mutex_;
  std::atomic<uint64_t> num_arrivals_ = 0;             // written under mutex_
  std::vector<Queue> queues_ ABSL_GUARDED_BY(mutex_);  // of pair (sender, receiver)
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_THREADS_THREADS_GROUP_H_
