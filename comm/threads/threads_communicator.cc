#include "hetero/comm/threads/threads_communicator.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "hetero/base/exceptions.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

namespace hetero::internal {
namespace {

// Slices of an all-reduce begin on lines of their own.
constexpr int64_t kLineElements = 64;

template <typename Pointer>
Pointer At(Pointer base, int64_t bytes) {
  using Byte = std::conditional_t<std::is_same_v<Pointer, void*>, std::byte, const std::byte>;
  return static_cast<Byte*>(base) + bytes;
}

absl::Status Copy(void* destination, const void* source, int64_t bytes, Stream& stream) {
  if (bytes == 0 || destination == source) return absl::OkStatus();
  if (stream.device().IsCuda()) {
    return cuda::CopyRows(stream.device().ordinal,
                          {.to = destination, .from = source, .row_bytes = bytes, .rows = 1},
                          stream.handle());
  }
  std::memcpy(destination, source, static_cast<size_t>(bytes));
  return absl::OkStatus();
}

class ExchangeHandle final : public TransferHandle {
 public:
  // `stream` outlives the handle.
  ExchangeHandle(ThreadsGroup& group, GroupRank me, std::string_view name, size_t num_messages,
                 Stream& stream)
      : group_(group), me_(me), name_(name), messages_(num_messages), stream_(stream) {}
  ~ExchangeHandle() override {
    group_.Withdraw(me_, messages_);
    for (Message& message : messages_) {
      if (message.device.IsCuda() && message.state == Message::State::kDone) {
        group_.GiveBack(me_, std::move(message.event));
      }
    }
  }

  std::string_view name() const { return name_; }
  std::span<Message> messages() { return messages_; }

  absl::Status Wait() override {
    for (Message& message : messages_) {
      HETERO_RETURN_IF_ERROR(group_.Await(me_, message));
      HETERO_RETURN_IF_ERROR(message.event.MakeWait(stream_));
    }
    return absl::OkStatus();
  }

 private:
  ThreadsGroup& group_;
  GroupRank me_;
  std::string name_;
  std::vector<Message> messages_;
  Stream& stream_;
};

}  // namespace

ThreadsCommunicator::ThreadsCommunicator(const CommunicatorKey& key, GroupRank rank,
                                         const CommunicatorOptions& options, ThreadsGroup& group)
    : CheckedCommunicator(group.state().backend(), key, rank, options,
                          &group.state().flight(key.members[static_cast<size_t>(rank.value())])),
      group_(group) {}

absl::Status ThreadsCommunicator::RunCollective(const Collective& call, Stream& stream) {
  const bool on_gpu = stream.device().IsCuda();
  group_.NextCall(rank()).Set(call, stream.device());
  const bool inline_input = call.kind != CollectiveKind::kAllToAll && !on_gpu;
  const bool inlined = inline_input && call.input.num_bytes() <= kInlineBytes;
  if (on_gpu) {
    HETERO_RETURN_IF_ERROR(group_.RecordReady(rank(), stream));
  }
  HETERO_RETURN_IF_ERROR(group_.EnterCall(rank(), inline_input));
  absl::Status status = on_gpu ? group_.QueueWaitForReady(stream) : absl::OkStatus();
  if (status.ok()) {
    // From here on the peers wait for this member: an exception must not keep it from leaving.
    status = CatchExceptions([&] { return Work(call, group_.calls(rank()), inlined, stream); });
  }
  if (on_gpu && status.ok()) status = group_.RecordDone(rank(), stream);
  if (!inlined) group_.LeaveCall(rank());
  if (on_gpu && status.ok()) status = group_.QueueWaitForDone(stream);
  return status;
}

std::span<const ConstTensorView> ThreadsCommunicator::Inputs(std::span<const Call> calls,
                                                             int64_t begin, int64_t count) {
  inputs_.clear();
  for (const Call& call : calls) {
    inputs_.emplace_back(At(call.input, begin * SizeOf(call.dtype)), call.dtype,
                         std::initializer_list<int64_t>{count});
  }
  return inputs_;
}

absl::Status ThreadsCommunicator::Reduce(const Collective& call, std::span<const Call> calls,
                                         bool inlined, Stream& stream) {
  const int64_t total = call.input.num_elements();
  const int64_t share = CeilDiv(total, size() * kLineElements) * kLineElements;
  const int64_t begin = inlined ? 0 : std::min(total, rank().value() * share);
  const int64_t count = inlined ? total : std::min(share, total - begin);
  outputs_.clear();
  for (const Call& peer : calls) {
    if (inlined && peer.output != call.output.address()) continue;
    outputs_.emplace_back(At(peer.output, begin * SizeOf(peer.dtype)), peer.dtype,
                          std::initializer_list<int64_t>{count});
  }
  return RankReduce(Inputs(calls, begin, count), outputs_, call.op, stream);
}

absl::Status ThreadsCommunicator::Work(const Collective& call, std::span<const Call> calls,
                                       bool inlined, Stream& stream) {
  const size_t me = static_cast<size_t>(rank().value());
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return Reduce(call, calls, inlined, stream);
    case CollectiveKind::kReduceScatter: {
      const int64_t count = call.output.num_elements();
      const TensorView outputs[] = {call.output.Reshape({count})};
      return RankReduce(Inputs(calls, rank().value() * count, count), outputs, ReduceOp::kSum,
                        stream);
    }
    case CollectiveKind::kAllGather: {
      const int64_t bytes = call.input.num_bytes();
      for (size_t i = 0; i < calls.size(); ++i) {
        HETERO_RETURN_IF_ERROR(Copy(At(call.output.address(), static_cast<int64_t>(i) * bytes),
                                    calls[i].input, bytes, stream));
      }
      return absl::OkStatus();
    }
    case CollectiveKind::kAllToAll: {
      const int64_t row_bytes = call.row_elements() * SizeOf(call.input.dtype());
      int64_t row = 0;
      for (const Call& peer : calls) {
        int64_t peer_row = 0;
        for (size_t i = 0; i < me; ++i) peer_row += peer.send_rows[i];
        HETERO_RETURN_IF_ERROR(Copy(At(call.output.address(), row * row_bytes),
                                    At(peer.input, peer_row * row_bytes),
                                    peer.send_rows[me] * row_bytes, stream));
        row += peer.send_rows[me];
      }
      return absl::OkStatus();
    }
    case CollectiveKind::kBroadcast:
      return Copy(call.output.address(), calls[static_cast<size_t>(call.root.value())].input,
                  call.root == rank() ? 0 : call.output.num_bytes(), stream);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TransferHandle>> ThreadsCommunicator::RunExchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  auto handle = std::make_unique<ExchangeHandle>(group_, rank(), name,
                                                 sends.size() + receives.size(), stream);
  Message* message = handle->messages().data();
  const auto fill = [&](const ConstTensorView& tensor) {
    message->dtype = tensor.dtype();
    message->num_elements = tensor.num_elements();
    message->name = handle->name();
    message->device = stream.device();
    ++message;
  };
  for (const SendRequest& send : sends) {
    message->sender = rank();
    message->receiver = send.peer;
    message->is_send = true;
    message->source = send.tensor.address();
    fill(send.tensor);
  }
  for (const ReceiveRequest& receive : receives) {
    message->sender = receive.peer;
    message->receiver = rank();
    message->destination = receive.tensor.address();
    fill(receive.tensor);
  }
  if (stream.device().IsCuda()) {
    for (Message& own : handle->messages()) {
      HETERO_ASSIGN_OR_RETURN(own.event, group_.TakeEvent(rank(), stream.device()));
      HETERO_RETURN_IF_ERROR(own.event.Record(stream));
    }
  }
  HETERO_RETURN_IF_ERROR(group_.Post(rank(), handle->messages()));
  return handle;
}

}  // namespace hetero::internal
