#ifndef HETERO_TOOLS_BENCH_SWITCHED_COMMUNICATOR_H_
#define HETERO_TOOLS_BENCH_SWITCHED_COMMUNICATOR_H_

// A communicator that can leave its calls out, to see what a layer takes without them, and that can
// make those of a layer again, to see what they take alone.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"

namespace hetero::bench {

class SwitchedCommunicator final : public Communicator {
 public:
  enum class Mode : uint8_t {
    kRun,
    kRecord,  // run, and keep what to run again, instead of what was kept before
    kSkip,    // leave out what carries activations; what is counted in integers still runs
  };

  explicit SwitchedCommunicator(std::unique_ptr<Communicator> communicator)
      : communicator_(std::move(communicator)) {}

  void set_mode(Mode mode) {
    mode_ = mode;
    if (mode == Mode::kRecord) recorded_.clear();
  }

  // Makes the recorded calls, one after another, on `stream`. Precondition: the memory of their
  // tensors is still there.
  absl::Status RunRecorded(Stream& stream);

  std::span<const GlobalRank> members() const override { return communicator_->members(); }
  GroupRank rank() const override { return communicator_->rank(); }
  absl::Status AllReduce(ConstTensorView input, TensorView output, ReduceOp op, Stream& stream,
                         std::string_view name) override;
  absl::Status ReduceScatter(ConstTensorView input, TensorView output, Stream& stream,
                             std::string_view name) override;
  absl::Status AllGather(ConstTensorView input, TensorView output, Stream& stream,
                         std::string_view name) override;
  absl::Status AllToAllV(ConstTensorView input, std::span<const int64_t> send_rows,
                         TensorView output, std::span<const int64_t> receive_rows, Stream& stream,
                         std::string_view name) override;
  absl::Status Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                         std::string_view name) override;
  absl::StatusOr<std::unique_ptr<TransferHandle>> Exchange(std::span<const SendRequest> sends,
                                                           std::span<const ReceiveRequest> receives,
                                                           Stream& stream,
                                                           std::string_view name) override;
  void Abort(const absl::Status& cause) override { communicator_->Abort(cause); }
  absl::Status HealthCheck() const override { return communicator_->HealthCheck(); }
  std::string ToString() const override { return communicator_->ToString(); }

 private:
  using Call = std::function<absl::Status(Stream&)>;

  absl::Status Do(DType dtype, Stream& stream, Call call);

  std::unique_ptr<Communicator> communicator_;
  Mode mode_ = Mode::kRun;
  std::vector<Call> recorded_;
};

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_SWITCHED_COMMUNICATOR_H_
