#ifndef HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_
#define HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_

#include <nccl.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/nccl/nccl_group.h"
#include "hetero/comm/threads/threads_communicator.h"
#include "hetero/tensor/event.h"

namespace hetero::internal {

// Tensors of the host go the way of its base.
class NcclCommunicator final : public ThreadsCommunicator {
 public:
  // `hub` and `group`, which `rank` has joined, outlive the communicator and its handles.
  NcclCommunicator(const CommunicatorKey& key, GroupRank rank, Hub& hub, NcclGroup& group)
      : ThreadsCommunicator(key, rank, hub), group_(group) {}

 private:
  absl::Status DoAllReduce(ConstTensorView input, TensorView output, ReduceOp op, Stream& stream,
                           std::string_view name) override;
  absl::Status DoReduceScatter(ConstTensorView input, TensorView output, Stream& stream,
                               std::string_view name) override;
  absl::Status DoAllGather(ConstTensorView input, TensorView output, Stream& stream,
                           std::string_view name) override;
  absl::Status DoAllToAllV(ConstTensorView input, std::span<const int64_t> send_rows,
                           TensorView output, std::span<const int64_t> receive_rows, Stream& stream,
                           std::string_view name) override;
  absl::Status DoBroadcast(TensorView tensor, GroupRank root, Stream& stream,
                           std::string_view name) override;
  absl::StatusOr<std::unique_ptr<TransferHandle>> DoExchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) override;

  // Logs `call` and queues `calls` on `stream`, nothing for a call without elements.
  absl::Status Issue(Call call, Stream& stream, absl::FunctionRef<ncclResult_t(ncclComm_t)> calls);

  NcclGroup& group_;
  bool has_ready_ = false;
  Event ready_;                      // of the stream that posts an exchange
  std::vector<Event> spare_events_;  // for the ends of exchanges

  friend class NcclTransfer;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_
