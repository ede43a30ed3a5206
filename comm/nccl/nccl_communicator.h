#ifndef HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_
#define HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_

#include <nccl.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/collective.h"
#include "hetero/comm/nccl/nccl_member.h"
#include "hetero/comm/nccl/nccl_run.h"
#include "hetero/tensor/event.h"

namespace hetero::internal {

// A rank's end of a communicator. Tensors of a GPU go through NCCL as nccl_world.h says; tensors of
// the host have a communicator of their own behind this one, made with the first of them, which all
// members must then have.
//
// Beyond the contract of Communicator:
// * The streams of all calls belong to one GPU, the rank's in the world. They outlive the calls and
//   the handles of exchanges, and so does every tensor until its stream has passed the call.
// * A collective is queued on the caller's stream, and the call returns before it has run. An
//   exchange is queued on a stream of the group, behind what the caller's stream holds and behind
//   earlier exchanges; Wait makes the caller's stream wait for its end, and the host for nothing.
// * Members that issue different collectives, and ends of a message that differ, are found by the
//   last of them to come where they are threads: INVALID_ARGUMENT naming both, which aborts the
//   run. Between processes they are found when nothing gets on because of them.
// * A rank's message to itself is received by the exchange that sends it, else INVALID_ARGUMENT.
// * What NCCL or a GPU runs into after a call has returned comes with the next call: ABORTED with
//   the cause; results of a stream whose run was aborted are void.
class NcclCommunicator final : public CheckedCommunicator {
 public:
  // `member`, which has joined, and `run` outlive the communicator and the handles of its
  // exchanges.
  NcclCommunicator(const CommunicatorKey& key, GroupRank rank, const CommunicatorOptions& options,
                   NcclRun& run, NcclMember& member)
      : CheckedCommunicator("nccl", key, rank, options, &run.flight(member.rank())),
        options_(options),
        run_(run),
        member_(member) {}

  void Abort(const absl::Status& cause) override { run_.Abort(cause); }
  absl::Status HealthCheck() const override { return run_.cause(); }

  absl::Status RunCollective(const Collective& call, Stream& stream) override;
  absl::StatusOr<std::unique_ptr<TransferHandle>> RunExchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) override;

 private:
  // For tensors of the host.
  absl::StatusOr<CheckedCommunicator*> Host();
  // Calls of NCCL for `call`, of an all-to-all those with peers.
  ncclResult_t Start(const Collective& call, ncclComm_t handle, Stream& stream) const;
  ncclResult_t StartAllToAll(const Collective& call, ncclComm_t handle, Stream& stream) const;

  const CommunicatorOptions options_;
  NcclRun& run_;
  NcclMember& member_;
  std::unique_ptr<CheckedCommunicator> host_;
  bool has_ready_ = false;
  Event ready_;                      // of the stream that posts an exchange
  std::vector<Event> spare_events_;  // for the ends of exchanges

  friend class NcclTransfer;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_COMMUNICATOR_H_
