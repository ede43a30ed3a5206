#include "hetero/comm/nccl/nccl_communicator.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero::internal {
namespace {

bool OnGpu(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

cudaStream_t Handle(Stream& stream) { return static_cast<cudaStream_t>(stream.handle()); }

ncclDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return ncclFloat64;
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kI32:
      return ncclInt32;
    case DType::kI64:
      return ncclInt64;
  }
  return ncclNumTypes;
}

ncclRedOp_t OperationOf(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return ncclSum;
    case ReduceOp::kMax:
      return ncclMax;
    case ReduceOp::kMin:
      return ncclMin;
  }
  return ncclNumOps;
}

Call MakeCall(std::string_view kind, std::string_view name, const ConstTensorView& input,
              const Stream& stream) {
  Call call;
  call.kind = kind;
  call.name = name;
  call.device = stream.device();
  call.dtype = input.dtype();
  call.num_elements = input.num_elements();
  return call;
}

absl::Status CopyBytes(void* to, const void* from, int64_t bytes, Stream& stream) {
  if (bytes == 0) return absl::OkStatus();
  return cuda::CopyRows(stream.device().ordinal,
                        {.to = to, .from = from, .row_bytes = bytes, .rows = 1}, stream.handle());
}

}  // namespace

class NcclTransfer final : public TransferHandle {
 public:
  NcclTransfer(NcclCommunicator& communicator, std::string_view name, Event end, Stream& stream)
      : communicator_(communicator), name_(name), end_(std::move(end)), stream_(stream) {}
  ~NcclTransfer() override { communicator_.spare_events_.push_back(std::move(end_)); }

  absl::Status Wait() override {
    if (!communicator_.HealthCheck().ok()) {
      return communicator_.group_.Aborted(absl::StrCat("exchange '", name_, "'"));
    }
    return end_.HoldBack(stream_);
  }

 private:
  NcclCommunicator& communicator_;
  const std::string name_;
  Event end_;
  Stream& stream_;
};

absl::Status NcclCommunicator::Issue(Call call, Stream& stream,
                                     absl::FunctionRef<ncclResult_t(ncclComm_t)> calls) {
  std::string what = call.ToString();
  if (!HealthCheck().ok()) return group_.Aborted(what);
  absl::StatusOr<IssueLog::Place> place = group_.log().Collective(rank(), call);
  if (!place.ok()) return group_.Fail(rank(), place.status());
  if (call.num_elements == 0 && call.send_rows.empty()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(group_.Queue(rank(), what, *place, calls));
  return group_.Track(rank(), std::move(what), *std::move(place), stream);
}

absl::Status NcclCommunicator::DoAllReduce(ConstTensorView input, TensorView output, ReduceOp op,
                                           Stream& stream, std::string_view name) {
  if (!OnGpu(stream)) return ThreadsCommunicator::DoAllReduce(input, output, op, stream, name);
  Call call = MakeCall("all_reduce", name, input, stream);
  call.detail = Name(op);
  return Issue(std::move(call), stream, [&](ncclComm_t handle) {
    return ncclAllReduce(input.address(), output.address(),
                         static_cast<size_t>(input.num_elements()), TypeOf(input.dtype()),
                         OperationOf(op), handle, Handle(stream));
  });
}

absl::Status NcclCommunicator::DoReduceScatter(ConstTensorView input, TensorView output,
                                               Stream& stream, std::string_view name) {
  if (!OnGpu(stream)) return ThreadsCommunicator::DoReduceScatter(input, output, stream, name);
  return Issue(MakeCall("reduce_scatter", name, input, stream), stream, [&](ncclComm_t handle) {
    return ncclReduceScatter(input.address(), output.address(),
                             static_cast<size_t>(output.num_elements()), TypeOf(input.dtype()),
                             ncclSum, handle, Handle(stream));
  });
}

absl::Status NcclCommunicator::DoAllGather(ConstTensorView input, TensorView output, Stream& stream,
                                           std::string_view name) {
  if (!OnGpu(stream)) return ThreadsCommunicator::DoAllGather(input, output, stream, name);
  return Issue(MakeCall("all_gather", name, input, stream), stream, [&](ncclComm_t handle) {
    return ncclAllGather(input.address(), output.address(),
                         static_cast<size_t>(input.num_elements()), TypeOf(input.dtype()), handle,
                         Handle(stream));
  });
}

absl::Status NcclCommunicator::DoAllToAllV(ConstTensorView input,
                                           std::span<const int64_t> send_rows, TensorView output,
                                           std::span<const int64_t> receive_rows, Stream& stream,
                                           std::string_view name) {
  if (!OnGpu(stream)) {
    return ThreadsCommunicator::DoAllToAllV(input, send_rows, output, receive_rows, stream, name);
  }
  Call call = MakeCall("all_to_all", name, input, stream);
  call.row_elements = 1;
  for (const int64_t dim : input.dims().subspan(1)) call.row_elements *= dim;
  call.send_rows.assign(send_rows.begin(), send_rows.end());
  call.receive_rows.assign(receive_rows.begin(), receive_rows.end());
  const int64_t row_elements = call.row_elements;
  const int64_t row_bytes = row_elements * SizeOf(input.dtype());
  const auto* from = static_cast<const std::byte*>(input.address());
  auto* to = static_cast<std::byte*>(output.address());
  const auto queue = [&](ncclComm_t handle) {
    const ncclDataType_t type = TypeOf(input.dtype());
    int64_t sent = 0;
    int64_t received = 0;
    for (int64_t peer = 0; peer < size(); ++peer) {
      const int64_t sends = send_rows[static_cast<size_t>(peer)];
      const int64_t receives = receive_rows[static_cast<size_t>(peer)];
      if (peer != rank().value()) {
        ncclResult_t code = ncclSuccess;
        if (sends > 0) {
          code = ncclSend(from + sent * row_bytes, static_cast<size_t>(sends * row_elements), type,
                          static_cast<int>(peer), handle, Handle(stream));
        }
        if (code == ncclSuccess && receives > 0) {
          code = ncclRecv(to + received * row_bytes, static_cast<size_t>(receives * row_elements),
                          type, static_cast<int>(peer), handle, Handle(stream));
        }
        if (code != ncclSuccess) return code;
      }
      sent += sends;
      received += receives;
    }
    return ncclSuccess;
  };
  HETERO_RETURN_IF_ERROR(Issue(std::move(call), stream, queue));
  const size_t me = static_cast<size_t>(rank().value());
  int64_t before = 0;
  int64_t after = 0;
  for (size_t i = 0; i < me; ++i) {
    before += send_rows[i];
    after += receive_rows[i];
  }
  return CopyBytes(to + after * row_bytes, from + before * row_bytes, send_rows[me] * row_bytes,
                   stream);
}

absl::Status NcclCommunicator::DoBroadcast(TensorView tensor, GroupRank root, Stream& stream,
                                           std::string_view name) {
  if (!OnGpu(stream)) return ThreadsCommunicator::DoBroadcast(tensor, root, stream, name);
  Call call = MakeCall("broadcast", name, tensor, stream);
  call.root = root;
  return Issue(std::move(call), stream, [&](ncclComm_t handle) {
    return ncclBroadcast(tensor.address(), tensor.address(),
                         static_cast<size_t>(tensor.num_elements()), TypeOf(tensor.dtype()),
                         static_cast<int>(root.value()), handle, Handle(stream));
  });
}

absl::StatusOr<std::unique_ptr<TransferHandle>> NcclCommunicator::DoExchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  if (!OnGpu(stream)) return ThreadsCommunicator::DoExchange(sends, receives, stream, name);
  std::string what = absl::StrCat("exchange '", name, "' of ", sends.size(), " sends and ",
                                  receives.size(), " receives on ", stream.device().ToString());
  if (!HealthCheck().ok()) return group_.Aborted(what);
  std::vector<PostedMessage> posted;
  std::vector<ConstTensorView> to_self;
  std::vector<TensorView> from_self;
  for (const SendRequest& send : sends) {
    posted.push_back({send.peer, true, send.tensor.dtype(), send.tensor.num_elements()});
    if (send.peer == rank()) to_self.push_back(send.tensor);
  }
  for (const ReceiveRequest& receive : receives) {
    posted.push_back({receive.peer, false, receive.tensor.dtype(), receive.tensor.num_elements()});
    if (receive.peer == rank()) from_self.push_back(receive.tensor);
  }
  absl::StatusOr<IssueLog::Place> place = group_.log().Exchange(rank(), posted);
  if (place.ok() && to_self.size() != from_self.size()) {
    place = absl::InvalidArgumentError(
        absl::StrCat(what, ": rank ", members()[static_cast<size_t>(rank().value())], " sends ",
                     to_self.size(), " messages to itself and receives ", from_self.size(),
                     " of them; over NCCL one exchange does both"));
  }
  if (!place.ok()) return group_.Fail(rank(), place.status());

  Stream& messages = group_.messages(rank());
  if (spare_events_.empty()) {
    HETERO_ASSIGN_OR_RETURN(spare_events_.emplace_back(), Event::Create(stream.device()));
    if (!has_ready_) {
      HETERO_ASSIGN_OR_RETURN(ready_, Event::Create(stream.device()));
      has_ready_ = true;
    }
  }
  Event end = std::move(spare_events_.back());
  spare_events_.pop_back();
  HETERO_RETURN_IF_ERROR(ready_.Record(stream));
  HETERO_RETURN_IF_ERROR(ready_.HoldBack(messages));
  for (size_t i = 0; i < to_self.size(); ++i) {
    HETERO_RETURN_IF_ERROR(
        CopyBytes(from_self[i].address(), to_self[i].address(), to_self[i].num_bytes(), messages));
  }
  const auto queue = [&](ncclComm_t handle) {
    for (const SendRequest& send : sends) {
      if (send.peer == rank()) continue;
      const ncclResult_t code =
          ncclSend(send.tensor.address(), static_cast<size_t>(send.tensor.num_elements()),
                   TypeOf(send.tensor.dtype()), static_cast<int>(send.peer.value()), handle,
                   Handle(messages));
      if (code != ncclSuccess) return code;
    }
    for (const ReceiveRequest& receive : receives) {
      if (receive.peer == rank()) continue;
      const ncclResult_t code =
          ncclRecv(receive.tensor.address(), static_cast<size_t>(receive.tensor.num_elements()),
                   TypeOf(receive.tensor.dtype()), static_cast<int>(receive.peer.value()), handle,
                   Handle(messages));
      if (code != ncclSuccess) return code;
    }
    return ncclSuccess;
  };
  HETERO_RETURN_IF_ERROR(group_.Queue(rank(), what, *place, queue));
  HETERO_RETURN_IF_ERROR(group_.Track(rank(), std::move(what), *std::move(place), messages));
  HETERO_RETURN_IF_ERROR(end.Record(messages));
  return std::make_unique<NcclTransfer>(*this, name, std::move(end), stream);
}

}  // namespace hetero::internal
