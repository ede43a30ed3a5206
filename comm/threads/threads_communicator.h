#ifndef HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_
#define HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/threads/hub.h"
#include "hetero/comm/threads/threads_state.h"

namespace hetero::internal {

class ThreadsCommunicator : public CheckedCommunicator {
 public:
  // `hub` outlives the communicator.
  ThreadsCommunicator(const CommunicatorKey& key, GroupRank rank, Hub& hub);

  void Abort(const absl::Status& cause) final { hub_.state().Abort(cause); }
  absl::Status HealthCheck() const final { return hub_.state().cause(); }

 protected:
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

 private:
  struct Operands {
    ConstTensorView input;
    TensorView output;
    std::string_view detail;
    GroupRank root;
    std::span<const int64_t> send_rows;
    std::span<const int64_t> receive_rows;
    int64_t row_elements = 0;
  };

  // Runs `work` between Meet and Part; without Part where Meet took the inputs in.
  template <typename Work>
  absl::Status Collective(std::string_view kind, std::string_view name, const Operands& operands,
                          bool inline_input, Stream& stream, Work work);

  // Elements [begin, begin + count) of every member's input, in rank order.
  std::span<const ConstTensorView> Inputs(std::span<const Call> calls, int64_t begin,
                                          int64_t count);

  Hub& hub_;
  std::vector<ConstTensorView> inputs_;
  std::vector<TensorView> outputs_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_
