#include "hetero/comm/nccl/nccl_communicator.h"

#include <cstddef>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero::internal {
namespace {

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

int64_t Sum(std::span<const int64_t> rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0});
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
      return communicator_.member_.Aborted(absl::StrCat("exchange '", name_, "'"));
    }
    return end_.MakeWait(stream_);
  }

 private:
  NcclCommunicator& communicator_;
  const std::string name_;
  Event end_;
  Stream& stream_;
};

ncclResult_t NcclCommunicator::Start(const Collective& call, ncclComm_t handle,
                                     Stream& stream) const {
  const void* const input = call.input.address();
  void* const output = call.output.address();
  const auto num_inputs = static_cast<size_t>(call.input.num_elements());
  const auto num_outputs = static_cast<size_t>(call.output.num_elements());
  const ncclDataType_t type = TypeOf(call.input.dtype());
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return ncclAllReduce(input, output, num_inputs, type, OperationOf(call.op), handle,
                           Handle(stream));
    case CollectiveKind::kReduceScatter:
      return ncclReduceScatter(input, output, num_outputs, type, ncclSum, handle, Handle(stream));
    case CollectiveKind::kAllGather:
      return ncclAllGather(input, output, num_inputs, type, handle, Handle(stream));
    case CollectiveKind::kAllToAll:
      return StartAllToAll(call, handle, stream);
    case CollectiveKind::kBroadcast:
      return ncclBroadcast(input, output, num_inputs, type, static_cast<int>(call.root.value()),
                           handle, Handle(stream));
  }
  return ncclInvalidArgument;
}

ncclResult_t NcclCommunicator::StartAllToAll(const Collective& call, ncclComm_t handle,
                                             Stream& stream) const {
  const ncclDataType_t type = TypeOf(call.input.dtype());
  const int64_t row_elements = call.row_elements();
  const int64_t row_bytes = row_elements * SizeOf(call.input.dtype());
  const auto* from = static_cast<const std::byte*>(call.input.address());
  auto* to = static_cast<std::byte*>(call.output.address());
  for (int64_t peer = 0; peer < size(); ++peer) {
    const int64_t sends = call.send_rows[static_cast<size_t>(peer)];
    const int64_t receives = call.receive_rows[static_cast<size_t>(peer)];
    if (peer != rank().value()) {
      ncclResult_t code = ncclSuccess;
      if (sends > 0) {
        code = ncclSend(from, static_cast<size_t>(sends * row_elements), type,
                        static_cast<int>(peer), handle, Handle(stream));
      }
      if (code == ncclSuccess && receives > 0) {
        code = ncclRecv(to, static_cast<size_t>(receives * row_elements), type,
                        static_cast<int>(peer), handle, Handle(stream));
      }
      if (code != ncclSuccess) return code;
    }
    from += sends * row_bytes;
    to += receives * row_bytes;
  }
  return ncclSuccess;
}

absl::StatusOr<CheckedCommunicator*> NcclCommunicator::Host() {
  if (host_ == nullptr) {
    const CommunicatorKey key = {member_.key().channel + ".host", member_.key().members};
    HETERO_ASSIGN_OR_RETURN(host_, run_.Host(key, rank(), options_));
  }
  return host_.get();
}

// Has NCCL queue the call, which runs on `stream`, and the watchdog keep its end; what has no
// elements is logged only, so that members that call different things are told.
absl::Status NcclCommunicator::RunCollective(const Collective& call, Stream& stream) {
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(CheckedCommunicator* const host, Host());
    return host->RunCollective(call, stream);
  }
  Call logged;
  logged.Set(call, stream.device());
  std::string what = logged.ToString();
  if (!HealthCheck().ok()) return member_.Aborted(what);
  absl::StatusOr<IssueLog::Place> place = member_.peers().Collective(logged);
  if (!place.ok()) return member_.Fail(place.status());
  const bool all_to_all = call.kind == CollectiveKind::kAllToAll;
  if (call.input.num_elements() == 0 && !all_to_all) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(
      member_.Queue(what, &*place, [&](ncclComm_t handle) { return Start(call, handle, stream); }));
  HETERO_RETURN_IF_ERROR(member_.Track(std::move(what), *std::move(place), stream));
  if (!all_to_all) return absl::OkStatus();
  const size_t me = static_cast<size_t>(rank().value());
  const int64_t row_bytes = call.row_elements() * SizeOf(call.input.dtype());
  const auto* from = static_cast<const std::byte*>(call.input.address());
  auto* to = static_cast<std::byte*>(call.output.address());
  return CopyBytes(to + Sum(call.receive_rows.first(me)) * row_bytes,
                   from + Sum(call.send_rows.first(me)) * row_bytes, call.send_rows[me] * row_bytes,
                   stream);
}

absl::StatusOr<std::unique_ptr<TransferHandle>> NcclCommunicator::RunExchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(CheckedCommunicator* const host, Host());
    return host->RunExchange(sends, receives, stream, name);
  }
  std::string what = absl::StrCat("exchange '", name, "' of ", sends.size(), " sends and ",
                                  receives.size(), " receives on ", stream.device().ToString());
  if (!HealthCheck().ok()) return member_.Aborted(what);
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
  absl::StatusOr<IssueLog::Place> place = member_.peers().Exchange(posted);
  if (place.ok() && to_self.size() != from_self.size()) {
    place = absl::InvalidArgumentError(
        absl::StrCat(what, ": rank ", members()[static_cast<size_t>(rank().value())], " sends ",
                     to_self.size(), " messages to itself and receives ", from_self.size(),
                     " of them; over NCCL one exchange does both"));
  }
  if (!place.ok()) return member_.Fail(place.status());

  Stream& messages = member_.messages();
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
  HETERO_RETURN_IF_ERROR(ready_.MakeWait(messages));
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
  HETERO_RETURN_IF_ERROR(member_.Queue(what, &*place, queue));
  HETERO_RETURN_IF_ERROR(member_.Track(std::move(what), *std::move(place), messages));
  HETERO_RETURN_IF_ERROR(end.Record(messages));
  return std::make_unique<NcclTransfer>(*this, name, std::move(end), stream);
}

}  // namespace hetero::internal
