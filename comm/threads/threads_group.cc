#include "hetero/comm/threads/threads_group.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/threads/threads_state.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero::internal {
namespace {

// Under 3 microseconds: about what blocking and waking costs.
constexpr int kSpins = 40;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <typename Done>
bool SpinUntil(Done done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    Pause();
  }
  return false;
}

template <typename Tensor>
int64_t NumBytes(const Tensor& tensor) {
  return tensor.num_elements * SizeOf(tensor.dtype);
}

std::string Where(const Device& device) {
  return device.IsCuda() ? absl::StrCat(" on ", device.ToString()) : "";
}

std::string ToString(const Message& message) {
  return absl::StrCat(message.is_send ? "a send" : "a receive", " of ", message.num_elements, " ",
                      Name(message.dtype), Where(message.device), " in exchange '", message.name,
                      "'");
}

}  // namespace

void Call::Set(const Collective& collective, const Device& on_device) {
  kind = collective.kind;
  name.assign(collective.name);
  op = collective.op;
  root = collective.root;
  device = on_device;
  dtype = collective.input.dtype();
  num_elements = collective.input.num_elements();
  input = collective.input.address();
  output = collective.output.address();
  send_rows.assign(collective.send_rows.begin(), collective.send_rows.end());
  receive_rows.assign(collective.receive_rows.begin(), collective.receive_rows.end());
  row_elements = kind == CollectiveKind::kAllToAll ? collective.row_elements() : 0;
}

std::string Call::ToString() const {
  std::string text = absl::StrCat(Name(kind), " '", name, "' of ", num_elements, " ", Name(dtype));
  if (kind == CollectiveKind::kAllReduce) absl::StrAppend(&text, " (", Name(op), ")");
  text += Where(device);
  if (kind == CollectiveKind::kBroadcast) absl::StrAppend(&text, " from member ", root.value());
  if (kind == CollectiveKind::kAllToAll) {
    absl::StrAppend(&text, " in rows of ", row_elements, ", sending [",
                    absl::StrJoin(send_rows, ","), "], receiving [",
                    absl::StrJoin(receive_rows, ","), "] rows");
  }
  return text;
}

bool SameCall(const Call& a, const Call& b) {
  return a.kind == b.kind && a.name == b.name && a.op == b.op && a.root == b.root &&
         a.dtype == b.dtype && a.row_elements == b.row_elements &&
         (!a.send_rows.empty() || a.num_elements == b.num_elements);
}

bool RowsFit(const Call& a, size_t i, const Call& b, size_t j) {
  return a.send_rows.empty() ||
         (a.send_rows[j] == b.receive_rows[i] && b.send_rows[i] == a.receive_rows[j]);
}

ThreadsGroup::ThreadsGroup(ThreadsState& state, const CommunicatorKey& key)
    : state_(state),
      members_(key.members),
      text_(ToString(state.backend(), key)),
      queues_(members_.size() * members_.size()) {
  for (size_t i = 0; i < members_.size(); ++i) {
    member_states_.push_back(std::make_unique<Member>());
    for (auto& bytes : member_states_.back()->inlined) {
      bytes = std::make_unique<std::byte[]>(kInlineBytes);
    }
  }
  for (std::vector<Call>& calls : calls_) calls.resize(members_.size());
}

std::string ThreadsGroup::Who(GroupRank rank) const {
  return absl::StrCat("rank ", members_[static_cast<size_t>(rank.value())]);
}

Call& ThreadsGroup::NextCall(GroupRank me) {
  return calls_[++member(me).num_calls % 2][static_cast<size_t>(me.value())];
}

void ThreadsGroup::Arrive(GroupRank me) {
  num_arrivals_.store(num_arrivals_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  ++member(me).num_meetings;
  if (!Complete(me)) return;
  for (auto& peer : member_states_) peer->wake.Signal();
}

bool ThreadsGroup::Complete(GroupRank me) {
  return num_arrivals_.load(std::memory_order_acquire) >= member(me).num_meetings * members_.size();
}

std::string ThreadsGroup::Laggards(GroupRank me) {
  std::vector<std::string> laggards;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (member_states_[i]->num_meetings < member(me).num_meetings) {
      laggards.push_back(state_.Describe(members_[i]));
    }
  }
  return absl::StrJoin(laggards, ", ");
}

absl::Status ThreadsGroup::Aborted(std::string_view call) const {
  return state_.AbortedError(absl::StrCat(text_, ": ", call));
}

absl::Status ThreadsGroup::SetCause(GroupRank me, const absl::Status& status) {
  const absl::Status located = Annotate(status, text_);
  state_.SetCause(Annotate(located, Who(me)));
  return located;
}

bool ThreadsGroup::TooLong(absl::Duration start) {
  return state_.clock().Now() - start > state_.timeout();
}

absl::Status ThreadsGroup::EnterCall(GroupRank me, bool inline_input) {
  Member& self = member(me);
  const size_t turn = self.num_calls % 2;
  Call& call = calls_[turn][static_cast<size_t>(me.value())];
  if (inline_input && NumBytes(call) <= kInlineBytes) {
    if (call.num_elements > 0) {
      std::memcpy(self.inlined[turn].get(), call.input, static_cast<size_t>(NumBytes(call)));
    }
    call.input = self.inlined[turn].get();
  }
  {
    absl::MutexLock lock(&mutex_);
    if (state_.aborted()) return Aborted(call.ToString());
    Arrive(me);
  }
  if (SpinUntil([&] { return Complete(me); })) return CheckCalls(me);

  const absl::Duration start = state_.clock().Now();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    while (status.ok() && !Complete(me)) {
      if (state_.aborted()) return Aborted(call.ToString());
      self.wake.WaitWithTimeout(&mutex_, state_.clock().tick());
      if (TooLong(start) && !Complete(me) && !state_.aborted()) {
        status = SetCause(me, absl::DeadlineExceededError(absl::StrCat(
                                  call.ToString(), " waited ",
                                  absl::FormatDuration(state_.timeout()), " for ", Laggards(me))));
      }
    }
  }
  if (status.ok()) return CheckCalls(me);
  state_.WakeAll();
  return status;
}

absl::Status ThreadsGroup::CheckCalls(GroupRank me) {
  const std::span<const Call> all = calls(me);
  const Call& first = all[0];
  for (size_t i = 1; i < all.size(); ++i) {
    const Call& other = all[i];
    bool fits = SameCall(first, other) && first.device == other.device;
    for (size_t j = 0; fits && j < i; ++j) fits = RowsFit(all[j], j, other, i);
    if (fits) continue;
    const absl::Status status = SetCause(
        me, absl::InvalidArgumentError(absl::StrCat(
                "members called different things: ", Who(GroupRank(0)), " ", first.ToString(), ", ",
                Who(GroupRank(static_cast<int64_t>(i))), " ", other.ToString())));
    state_.WakeAll();
    return status;
  }
  return absl::OkStatus();
}

void ThreadsGroup::LeaveCall(GroupRank me) {
  {
    absl::MutexLock lock(&mutex_);
    Arrive(me);
  }
  if (SpinUntil([&] { return Complete(me); })) return;
  absl::MutexLock lock(&mutex_);
  while (!Complete(me)) member(me).wake.Wait(&mutex_);
}

absl::StatusOr<ThreadsGroup::DeviceSide*> ThreadsGroup::OnDevice(GroupRank me, Device device) {
  Member& self = member(me);
  if (self.on_device == nullptr) {
    auto side = std::make_unique<DeviceSide>();
    HETERO_ASSIGN_OR_RETURN(side->ready, Event::Create(device));
    HETERO_ASSIGN_OR_RETURN(side->done, Event::Create(device));
    HETERO_ASSIGN_OR_RETURN(side->copies, Stream::Create(device, side->no_workspace));
    self.on_device = std::move(side);
  }
  return self.on_device.get();
}

absl::Status ThreadsGroup::RecordReady(GroupRank me, Stream& stream) {
  HETERO_ASSIGN_OR_RETURN(DeviceSide * side, OnDevice(me, stream.device()));
  return side->ready.Record(stream);
}

absl::Status ThreadsGroup::QueueWaitForReady(Stream& stream) const {
  for (const auto& peer : member_states_) {
    HETERO_RETURN_IF_ERROR(peer->on_device->ready.MakeWait(stream));
  }
  return absl::OkStatus();
}

absl::Status ThreadsGroup::RecordDone(GroupRank me, Stream& stream) {
  return member(me).on_device->done.Record(stream);
}

absl::Status ThreadsGroup::QueueWaitForDone(Stream& stream) const {
  for (const auto& peer : member_states_) {
    HETERO_RETURN_IF_ERROR(peer->on_device->done.MakeWait(stream));
  }
  return absl::OkStatus();
}

absl::StatusOr<Event> ThreadsGroup::TakeEvent(GroupRank me, Device device) {
  std::vector<Event>& spare = member(me).spare_events;
  if (spare.empty()) return Event::Create(device);
  Event event = std::move(spare.back());
  spare.pop_back();
  return event;
}

absl::Status ThreadsGroup::QueueCopy(GroupRank me, Message& send, Message& receive) {
  HETERO_ASSIGN_OR_RETURN(DeviceSide * side, OnDevice(me, send.device));
  Stream& copies = *side->copies;
  HETERO_RETURN_IF_ERROR(send.event.MakeWait(copies));
  HETERO_RETURN_IF_ERROR(receive.event.MakeWait(copies));
  HETERO_RETURN_IF_ERROR(cuda::CopyRows(
      send.device.ordinal,
      {.to = receive.destination, .from = send.source, .row_bytes = NumBytes(send), .rows = 1},
      copies.handle()));
  HETERO_RETURN_IF_ERROR(send.event.Record(copies));
  return receive.event.Record(copies);
}

ThreadsGroup::Queue& ThreadsGroup::QueueOf(GroupRank sender, GroupRank receiver) {
  return queues_[static_cast<size_t>(sender.value() * size() + receiver.value())];
}

void ThreadsGroup::Remove(Message& message) {
  Queue& queue = QueueOf(message.sender, message.receiver);
  Message* previous = nullptr;
  for (Message* at = queue.head; at != &message; at = at->next) previous = at;
  (previous == nullptr ? queue.head : previous->next) = message.next;
  if (queue.tail == &message) queue.tail = previous;
  message.next = nullptr;
  message.state.store(Message::State::kWithdrawn, std::memory_order_relaxed);
}

absl::Status ThreadsGroup::Post(GroupRank me, std::span<Message> messages) {
  absl::Status status;
  Message* copies = nullptr;  // own halves of matched pairs, linked by `next`
  {
    absl::MutexLock lock(&mutex_);
    if (state_.aborted()) status = Aborted("exchange");
    for (Message& message : messages) {
      if (!status.ok()) continue;
      Queue& queue = QueueOf(message.sender, message.receiver);
      Message* const other = queue.head;
      if (other == nullptr || other->is_send == message.is_send) {
        (other == nullptr ? queue.head : queue.tail->next) = &message;
        queue.tail = &message;
        message.state.store(Message::State::kQueued, std::memory_order_relaxed);
        continue;
      }
      if (other->dtype != message.dtype || other->num_elements != message.num_elements ||
          other->device != message.device) {
        status = SetCause(
            me, absl::InvalidArgumentError(absl::StrCat(
                    "the two ends of a message differ: ", Who(me), " posts ", ToString(message),
                    ", ", Who(me == message.sender ? message.receiver : message.sender), " posted ",
                    ToString(*other))));
        continue;
      }
      Remove(*other);
      other->state.store(Message::State::kCopying, std::memory_order_relaxed);
      message.state.store(Message::State::kCopying, std::memory_order_relaxed);
      message.partner = other;
      message.next = copies;
      copies = &message;
    }
  }
  for (Message* message = copies; message != nullptr;) {
    Message* const next = std::exchange(message->next, nullptr);
    Message* const other = message->partner;
    Message& send = message->is_send ? *message : *other;
    Message& receive = message->is_send ? *other : *message;
    if (!send.device.IsCuda()) {
      std::memcpy(receive.destination, send.source, static_cast<size_t>(NumBytes(send)));
    } else if (const absl::Status queued = QueueCopy(me, send, receive); !queued.ok()) {
      status = SetCause(me, queued);
    }
    message->state.store(Message::State::kDone, std::memory_order_relaxed);
    const GroupRank peer = me == message->sender ? message->receiver : message->sender;
    {
      // Under the lock: the peer may free `other` as soon as it sees kDone.
      absl::MutexLock lock(&mutex_);
      other->state.store(Message::State::kDone, std::memory_order_release);
      member(peer).wake.Signal();
    }
    message = next;
  }
  if (!status.ok()) {
    state_.WakeAll();
    Withdraw(me, messages);
  }
  return status;
}

absl::Status ThreadsGroup::Await(GroupRank me, Message& message) {
  const auto done = [&] {
    return message.state.load(std::memory_order_acquire) == Message::State::kDone;
  };
  if (SpinUntil(done)) return absl::OkStatus();
  const absl::Duration start = state_.clock().Now();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    while (!done()) {
      const bool queued = message.state.load(std::memory_order_relaxed) == Message::State::kQueued;
      if (queued && state_.aborted()) {
        Remove(message);
        return Aborted(ToString(message));
      }
      if (!queued) {
        member(me).wake.Wait(&mutex_);
        continue;
      }
      member(me).wake.WaitWithTimeout(&mutex_, state_.clock().tick());
      if (TooLong(start) && !state_.aborted() &&
          message.state.load(std::memory_order_relaxed) == Message::State::kQueued) {
        const GroupRank peer = message.is_send ? message.receiver : message.sender;
        Remove(message);
        status = SetCause(
            me, absl::DeadlineExceededError(absl::StrCat(
                    ToString(message), " waited ", absl::FormatDuration(state_.timeout()), " for ",
                    state_.Describe(members_[static_cast<size_t>(peer.value())]))));
        break;
      }
    }
  }
  if (!status.ok()) state_.WakeAll();
  return status;
}

void ThreadsGroup::Withdraw(GroupRank me, std::span<Message> messages) {
  absl::MutexLock lock(&mutex_);
  for (Message& message : messages) {
    if (message.state.load(std::memory_order_relaxed) == Message::State::kQueued) Remove(message);
    while (message.state.load(std::memory_order_relaxed) == Message::State::kCopying) {
      member(me).wake.Wait(&mutex_);
    }
  }
}

void ThreadsGroup::WakeAll() {
  absl::MutexLock lock(&mutex_);
  for (auto& member : member_states_) member->wake.Signal();
}

}  // namespace hetero::internal
