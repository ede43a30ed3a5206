#ifndef HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_
#define HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/collective.h"
#include "hetero/comm/threads/threads_group.h"
#include "hetero/comm/threads/threads_state.h"

namespace hetero::internal {

class ThreadsCommunicator final : public CheckedCommunicator {
 public:
  // `group` outlives the communicator.
  ThreadsCommunicator(const CommunicatorKey& key, GroupRank rank,
                      const CommunicatorOptions& options, ThreadsGroup& group);

  void Abort(const absl::Status& cause) override { group_.state().Abort(cause); }
  absl::Status HealthCheck() const override { return group_.state().cause(); }

  absl::Status RunCollective(const Collective& call, Stream& stream) override;
  absl::StatusOr<std::unique_ptr<TransferHandle>> RunExchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) override;

 private:
  // This member's part of a collective whose members have all come with `calls`. `inlined`: their
  // inputs lie in the group, so that no member writes what another reads.
  absl::Status Work(const Collective& call, std::span<const Call> calls, bool inlined,
                    Stream& stream);
  absl::Status Reduce(const Collective& call, std::span<const Call> calls, bool inlined,
                      Stream& stream);

  // Elements [begin, begin + count) of every member's input, in rank order.
  std::span<const ConstTensorView> Inputs(std::span<const Call> calls, int64_t begin,
                                          int64_t count);

  ThreadsGroup& group_;
  std::vector<ConstTensorView> inputs_;
  std::vector<TensorView> outputs_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_THREADS_THREADS_COMMUNICATOR_H_
