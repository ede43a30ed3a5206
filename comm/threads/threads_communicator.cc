#include "hetero/comm/threads/threads_communicator.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "hetero/base/exceptions.h"
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

bool OnGpu(const Device& device) { return device.kind == DeviceKind::kCuda; }

absl::Status Copy(void* destination, const void* source, int64_t bytes, Stream& stream) {
  if (bytes == 0 || destination == source) return absl::OkStatus();
  if (OnGpu(stream.device())) {
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
  ExchangeHandle(Hub& hub, GroupRank me, std::string_view name, size_t num_messages, Stream& stream)
      : hub_(hub), me_(me), name_(name), messages_(num_messages), stream_(stream) {}
  ~ExchangeHandle() override {
    hub_.Withdraw(me_, messages_);
    for (Message& message : messages_) {
      if (OnGpu(message.device) && message.state == Message::State::kDone) {
        hub_.GiveBack(me_, std::move(message.event));
      }
    }
  }

  std::string_view name() const { return name_; }
  std::span<Message> messages() { return messages_; }

  absl::Status Wait() override {
    for (Message& message : messages_) {
      HETERO_RETURN_IF_ERROR(hub_.Await(me_, message));
      HETERO_RETURN_IF_ERROR(message.event.HoldBack(stream_));
    }
    return absl::OkStatus();
  }

 private:
  Hub& hub_;
  GroupRank me_;
  std::string name_;
  std::vector<Message> messages_;
  Stream& stream_;
};

}  // namespace

ThreadsCommunicator::ThreadsCommunicator(const CommunicatorKey& key, GroupRank rank, Hub& hub)
    : CheckedCommunicator(hub.state().backend(), key, rank,
                          &hub.state().flight(key.members[static_cast<size_t>(rank.value())])),
      hub_(hub) {}

template <typename Work>
absl::Status ThreadsCommunicator::Collective(std::string_view kind, std::string_view name,
                                             const Operands& operands, bool inline_input,
                                             Stream& stream, Work work) {
  const bool on_gpu = OnGpu(stream.device());
  Call& call = hub_.Prepare(rank());
  call.kind = kind;
  call.name.assign(name);
  call.detail = operands.detail;
  call.root = operands.root;
  call.device = stream.device();
  call.dtype = operands.input.dtype();
  call.num_elements = operands.input.num_elements();
  call.input = operands.input.address();
  call.output = operands.output.address();
  call.send_rows.assign(operands.send_rows.begin(), operands.send_rows.end());
  call.receive_rows.assign(operands.receive_rows.begin(), operands.receive_rows.end());
  call.row_elements = operands.row_elements;
  inline_input = inline_input && !on_gpu;
  const bool inlined = inline_input && operands.input.num_bytes() <= kInlineBytes;
  if (on_gpu) {
    HETERO_RETURN_IF_ERROR(hub_.Ready(rank(), stream));
  }
  HETERO_RETURN_IF_ERROR(hub_.Meet(rank(), inline_input));
  absl::Status status = on_gpu ? hub_.AfterReady(stream) : absl::OkStatus();
  if (status.ok()) {
    // Past the meeting the peers count on this member: an exception must not keep it from parting.
    status = CatchExceptions([&] { return work(hub_.calls(rank()), inlined); });
  }
  if (on_gpu && status.ok()) status = hub_.Done(rank(), stream);
  if (!inlined) hub_.Part(rank());
  if (on_gpu && status.ok()) status = hub_.AfterDone(stream);
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

absl::Status ThreadsCommunicator::DoAllReduce(ConstTensorView input, TensorView output, ReduceOp op,
                                              Stream& stream, std::string_view name) {
  const auto reduce = [&](std::span<const Call> calls, bool inlined) {
    const int64_t total = input.num_elements();
    const int64_t share =
        (total + size() * kLineElements - 1) / (size() * kLineElements) * kLineElements;
    const int64_t begin = inlined ? 0 : std::min(total, rank().value() * share);
    const int64_t count = inlined ? total : std::min(share, total - begin);
    outputs_.clear();
    for (const Call& call : calls) {
      if (inlined && call.output != output.address()) continue;
      outputs_.emplace_back(At(call.output, begin * SizeOf(call.dtype)), call.dtype,
                            std::initializer_list<int64_t>{count});
    }
    return RankReduce(Inputs(calls, begin, count), outputs_, op, stream);
  };
  return Collective("all_reduce", name, {.input = input, .output = output, .detail = Name(op)},
                    /*inline_input=*/true, stream, reduce);
}

absl::Status ThreadsCommunicator::DoReduceScatter(ConstTensorView input, TensorView output,
                                                  Stream& stream, std::string_view name) {
  const auto reduce = [&](std::span<const Call> calls, bool) {
    const int64_t count = output.num_elements();
    const TensorView outputs[] = {output.Reshape({count})};
    return RankReduce(Inputs(calls, rank().value() * count, count), outputs, ReduceOp::kSum,
                      stream);
  };
  return Collective("reduce_scatter", name, {.input = input, .output = output},
                    /*inline_input=*/true, stream, reduce);
}

absl::Status ThreadsCommunicator::DoAllGather(ConstTensorView input, TensorView output,
                                              Stream& stream, std::string_view name) {
  const auto copy = [&](std::span<const Call> calls, bool) -> absl::Status {
    const int64_t bytes = input.num_bytes();
    for (size_t i = 0; i < calls.size(); ++i) {
      HETERO_RETURN_IF_ERROR(Copy(At(output.address(), static_cast<int64_t>(i) * bytes),
                                  calls[i].input, bytes, stream));
    }
    return absl::OkStatus();
  };
  return Collective("all_gather", name, {.input = input, .output = output},
                    /*inline_input=*/true, stream, copy);
}

absl::Status ThreadsCommunicator::DoAllToAllV(ConstTensorView input,
                                              std::span<const int64_t> send_rows, TensorView output,
                                              std::span<const int64_t> receive_rows, Stream& stream,
                                              std::string_view name) {
  int64_t row_elements = 1;
  for (const int64_t dim : input.dims().subspan(1)) row_elements *= dim;
  const int64_t row_bytes = row_elements * SizeOf(input.dtype());
  const auto copy = [&](std::span<const Call> calls, bool) -> absl::Status {
    const size_t me = static_cast<size_t>(rank().value());
    int64_t row = 0;
    for (const Call& call : calls) {
      int64_t peer_row = 0;
      for (size_t i = 0; i < me; ++i) peer_row += call.send_rows[i];
      HETERO_RETURN_IF_ERROR(Copy(At(output.address(), row * row_bytes),
                                  At(call.input, peer_row * row_bytes),
                                  call.send_rows[me] * row_bytes, stream));
      row += call.send_rows[me];
    }
    return absl::OkStatus();
  };
  return Collective("all_to_all", name,
                    {.input = input,
                     .output = output,
                     .send_rows = send_rows,
                     .receive_rows = receive_rows,
                     .row_elements = row_elements},
                    /*inline_input=*/false, stream, copy);
}

absl::Status ThreadsCommunicator::DoBroadcast(TensorView tensor, GroupRank root, Stream& stream,
                                              std::string_view name) {
  const auto copy = [&](std::span<const Call> calls, bool) -> absl::Status {
    return Copy(tensor.address(), calls[static_cast<size_t>(root.value())].input,
                root == rank() ? 0 : tensor.num_bytes(), stream);
  };
  return Collective("broadcast", name, {.input = tensor, .output = tensor, .root = root},
                    /*inline_input=*/true, stream, copy);
}

absl::StatusOr<std::unique_ptr<TransferHandle>> ThreadsCommunicator::DoExchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  auto handle =
      std::make_unique<ExchangeHandle>(hub_, rank(), name, sends.size() + receives.size(), stream);
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
  if (OnGpu(stream.device())) {
    for (Message& own : handle->messages()) {
      HETERO_ASSIGN_OR_RETURN(own.event, hub_.TakeEvent(rank(), stream.device()));
      HETERO_RETURN_IF_ERROR(own.event.Record(stream));
    }
  }
  HETERO_RETURN_IF_ERROR(hub_.Post(rank(), handle->messages()));
  return handle;
}

}  // namespace hetero::internal
