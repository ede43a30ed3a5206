#ifndef HETERO_COMM_PROCESSES_PROCESSES_COMMUNICATOR_H_
#define HETERO_COMM_PROCESSES_PROCESSES_COMMUNICATOR_H_

// A collective: every member sends every other an envelope with what it calls, small tensors
// inside; of many members, the envelopes go up a tree and the results come down. Larger tensors go
// as messages of their own, whose slots hold their size, so that nothing of a wrong size is ever
// received. Sums are made here, in the order of the ranks. Two members are connected when they
// first have anything to say to each other: in exchanges from the start.

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/collective.h"
#include "hetero/comm/processes/envelope.h"
#include "hetero/comm/processes/member_tree.h"
#include "hetero/comm/processes/processes_state.h"

namespace hetero::internal {

class ProcessesCommunicator final : public CheckedCommunicator {
 public:
  // Waits for the members that it is connected to at once. `state` outlives the communicator and
  // its handles. Errors: ABORTED, UNAVAILABLE naming whom it cannot connect to.
  static absl::StatusOr<std::unique_ptr<ProcessesCommunicator>> Create(
      const CommunicatorKey& key, GroupRank rank, const CommunicatorOptions& options,
      ProcessesState& state);

  void Abort(const absl::Status& cause) override { state_.rendezvous().Abort(cause); }
  absl::Status HealthCheck() const override { return state_.rendezvous().HealthCheck(); }

  absl::Status RunCollective(const Collective& call, Stream& stream) override;
  absl::StatusOr<std::unique_ptr<TransferHandle>> RunExchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) override;

 private:
  struct Pending {
    std::unique_ptr<PendingMessage> message;
    GlobalRank peer;
  };
  struct Peer {
    GlobalRank rank;
    Envelope out;
    Envelope in;
    Pending arrival;        // of `in`
    uint64_t num_sent = 0;  // messages of exchanges
    uint64_t num_received = 0;
  };
  // Of so many members each is connected to all others, which are no more than neighbours in a
  // tree.
  static constexpr int64_t kMostDirect = static_cast<int64_t>(kTreeChildren) + 2;
  struct Message;
  class ExchangeHandle;
  // The elements of a tensor that a member reduces.
  struct Chunk {
    int64_t begin = 0;
    int64_t count = 0;
  };
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };

  ProcessesCommunicator(const CommunicatorKey& key, GroupRank rank,
                        const CommunicatorOptions& options, ProcessesState& state);

  size_t me() const { return static_cast<size_t>(rank().value()); }
  uint64_t SlotOf(CallKind kind, uint64_t number, uint64_t part, int64_t bytes) const;

  std::vector<size_t> AllPeers() const;
  absl::Status ConnectTo(std::span<const size_t> peers);

  // `slot_bytes`: of a message whose size only the sender knows, 0.
  absl::StatusOr<Pending> Send(size_t peer, uint64_t part, const void* data, int64_t bytes,
                               int64_t slot_bytes);
  absl::StatusOr<Pending> Receive(size_t peer, uint64_t part, void* data, int64_t bytes,
                                  int64_t slot_bytes);
  absl::StatusOr<Pending> Send(size_t peer, uint64_t part, const void* data, int64_t bytes) {
    return Send(peer, part, data, bytes, bytes);
  }
  absl::StatusOr<Pending> Receive(size_t peer, uint64_t part, void* data, int64_t bytes) {
    return Receive(peer, part, data, bytes, bytes);
  }
  absl::Status Await(Pending& pending);
  absl::Status AwaitSends();

  // INVALID_ARGUMENT, for all ranks, unless `sender` sent what is received.
  absl::Status Compare(const EnvelopeHead& received, GlobalRank sender, const EnvelopeHead& sent);
  absl::Status PostToSelf(Message& message);
  // Likewise unless `peer` calls the same.
  absl::Status CompareCalls(const EnvelopeHead& own, GlobalRank peer, const EnvelopeHead& theirs);

  bool uses_tree() const { return size() > kMostDirect; }
  std::vector<size_t> TreeNeighbours() const;
  // All of a small call, of another one only that all members call the same.
  absl::Status RunInTree(const Collective& call, bool small, Stream& stream);
  // At the root: envelopes of all members in the order of TreeOrder become `result`.
  absl::Status FinishTree(const Collective& call, const EnvelopeHead& own, bool small,
                          std::span<const std::byte> envelopes, std::span<std::byte> result,
                          Stream& stream);

  absl::Status SendEnvelopes(const Collective& call, bool small);
  absl::Status AwaitEnvelopes();
  absl::Status FinishSmall(const Collective& call, Stream& stream);
  absl::Status AllGather(const void* input, int64_t bytes, void* output, uint64_t part);
  absl::Status AllToAll(const Collective& call);
  absl::Status Broadcast(const Collective& call);
  absl::Status AllReduce(const Collective& call, Stream& stream);
  absl::Status ReduceScatter(const Collective& call, Stream& stream);
  // `output` becomes the reduction of this member's chunk of all inputs.
  absl::Status Reduce(const Collective& call, std::span<const Chunk> chunks, TensorView output,
                      Stream& stream);

  ProcessesState& state_;
  const uint64_t id_;  // of the communicator, the same on all members
  std::vector<std::unique_ptr<Peer>>
      peers_;  // by member; null for this one and who is not connected
  uint64_t num_calls_ = 0;
  std::vector<Pending> sends_;
  std::deque<Message*> to_self_;  // that wait for their other end
  std::vector<Line> scratch_;
  // Of the tree: what this member and those below it give, and what comes of all.
  std::vector<Line> envelopes_;
  std::vector<Line> result_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_PROCESSES_PROCESSES_COMMUNICATOR_H_
