#include "hetero/tools/bench/switched_communicator.h"

#include <utility>

#include "hetero/base/status.h"

namespace hetero::bench {

absl::Status SwitchedCommunicator::Do(DType dtype, Stream& stream, Call call) {
  if (mode_ == Mode::kSkip && IsFloating(dtype)) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(call(stream));
  if (mode_ == Mode::kRecord) recorded_.push_back(std::move(call));
  return absl::OkStatus();
}

absl::Status SwitchedCommunicator::RunRecorded(Stream& stream) {
  for (const Call& call : recorded_) HETERO_RETURN_IF_ERROR(call(stream));
  return absl::OkStatus();
}

absl::Status SwitchedCommunicator::AllReduce(ConstTensorView input, TensorView output, ReduceOp op,
                                             Stream& stream, std::string_view name) {
  return Do(input.dtype(), stream, [=, this, text = std::string(name)](Stream& queue) {
    return communicator_->AllReduce(input, output, op, queue, text);
  });
}

absl::Status SwitchedCommunicator::ReduceScatter(ConstTensorView input, TensorView output,
                                                 Stream& stream, std::string_view name) {
  return Do(input.dtype(), stream, [=, this, text = std::string(name)](Stream& queue) {
    return communicator_->ReduceScatter(input, output, queue, text);
  });
}

absl::Status SwitchedCommunicator::AllGather(ConstTensorView input, TensorView output,
                                             Stream& stream, std::string_view name) {
  return Do(input.dtype(), stream, [=, this, text = std::string(name)](Stream& queue) {
    return communicator_->AllGather(input, output, queue, text);
  });
}

absl::Status SwitchedCommunicator::AllToAllV(ConstTensorView input,
                                             std::span<const int64_t> send_rows, TensorView output,
                                             std::span<const int64_t> receive_rows, Stream& stream,
                                             std::string_view name) {
  return Do(input.dtype(), stream,
            [=, this, sends = std::vector<int64_t>(send_rows.begin(), send_rows.end()),
             receives = std::vector<int64_t>(receive_rows.begin(), receive_rows.end()),
             text = std::string(name)](Stream& queue) {
              return communicator_->AllToAllV(input, sends, output, receives, queue, text);
            });
}

absl::Status SwitchedCommunicator::Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                                             std::string_view name) {
  return Do(tensor.dtype(), stream, [=, this, text = std::string(name)](Stream& queue) {
    return communicator_->Broadcast(tensor, root, queue, text);
  });
}

absl::StatusOr<std::unique_ptr<TransferHandle>> SwitchedCommunicator::Exchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  if (mode_ == Mode::kSkip) return std::make_unique<TransferHandle>();
  if (mode_ == Mode::kRecord) {
    recorded_.push_back(
        [this, all_sends = std::vector<SendRequest>(sends.begin(), sends.end()),
         all_receives = std::vector<ReceiveRequest>(receives.begin(), receives.end()),
         text = std::string(name)](Stream& queue) -> absl::Status {
          HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<TransferHandle> transfer,
                                  communicator_->Exchange(all_sends, all_receives, queue, text));
          return transfer->Wait();
        });
  }
  return communicator_->Exchange(sends, receives, stream, name);
}

}  // namespace hetero::bench
