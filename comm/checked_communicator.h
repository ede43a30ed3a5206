#ifndef HETERO_COMM_CHECKED_COMMUNICATOR_H_
#define HETERO_COMM_CHECKED_COMMUNICATOR_H_

// What all backends do the same way: check the arguments of a call, record it in the stream's
// ledger, stop there on a shape-only stream, and else keep it in the rank's flight ring. A backend
// derives from CheckedCommunicator and implements RunCollective and RunExchange, which see valid
// arguments on real memory only.
//
// The bytes recorded are what this rank must send at least: of n members, 2(n-1)/n of the tensor in
// an all-reduce, (n-1)/n in a reduce-scatter, n-1 times the input in an all-gather, the rows for
// others in an all-to-all, the tensor at a broadcast's root and its sends in an exchange.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/collective.h"
#include "hetero/comm/communicator.h"
#include "hetero/telemetry/flight_ring.h"

namespace hetero {

class CheckedCommunicator : public Communicator {
 public:
  std::span<const GlobalRank> members() const final { return key_.members; }
  GroupRank rank() const final { return rank_; }

  absl::Status AllReduce(ConstTensorView input, TensorView output, ReduceOp op, Stream& stream,
                         std::string_view name) final;
  absl::Status ReduceScatter(ConstTensorView input, TensorView output, Stream& stream,
                             std::string_view name) final;
  absl::Status AllGather(ConstTensorView input, TensorView output, Stream& stream,
                         std::string_view name) final;
  absl::Status AllToAllV(ConstTensorView input, std::span<const int64_t> send_rows,
                         TensorView output, std::span<const int64_t> receive_rows, Stream& stream,
                         std::string_view name) final;
  absl::Status Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                         std::string_view name) final;
  absl::StatusOr<std::unique_ptr<TransferHandle>> Exchange(std::span<const SendRequest> sends,
                                                           std::span<const ReceiveRequest> receives,
                                                           Stream& stream,
                                                           std::string_view name) final;

  std::string ToString() const final { return text_; }

  // What a call does once it is checked and recorded; a backend that has another for some of its
  // calls makes theirs here.
  virtual absl::Status RunCollective(const Collective& call, Stream& stream) = 0;
  // Messages without elements are left out already.
  virtual absl::StatusOr<std::unique_ptr<TransferHandle>> RunExchange(
      std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
      std::string_view name) = 0;

 protected:
  // `backend` is the first word of ToString(). `flight` is the rank's and outlives the communicator
  // and its handles; null keeps no record.
  CheckedCommunicator(std::string_view backend, CommunicatorKey key, GroupRank rank,
                      const CommunicatorOptions& options, FlightRing* flight);

 private:
  bool IsMember(GroupRank peer) const { return peer.value() >= 0 && peer.value() < size(); }
  absl::Status CheckPeer(std::string_view what, GroupRank peer) const;

  // Puts call and communicator before an error's text.
  absl::Status Fail(std::string_view kind, std::string_view name, const absl::Status& status) const;

  // INVALID_ARGUMENT unless shapes, types, counts and, on real memory, places fit.
  absl::Status Check(const Collective& call, const Stream& stream) const;
  // What this member sends of a valid call.
  int64_t BytesSent(const Collective& call) const;
  absl::Status CheckAndRun(const Collective& call, Stream& stream);

  // Accounts a valid call that sends `bytes` and does `work` unless the stream is shape-only.
  template <typename Work>
  absl::Status Account(std::string_view kind, std::string_view name, int64_t bytes, Stream& stream,
                       const FlightDetails& details, Work work);

  CommunicatorKey key_;
  std::string text_;
  GroupRank rank_;
  std::optional<std::vector<GlobalRank>> exchange_peers_;
  FlightRing* flight_;
  std::vector<int64_t> others_;  // the other members
  int64_t num_collectives_ = 0;  // begun
  std::vector<int64_t> peers_;   // scratch of Exchange, as are the next two
  std::vector<SendRequest> sends_;
  std::vector<ReceiveRequest> receives_;
};

// "threads[0,2] model"
std::string ToString(std::string_view backend, const CommunicatorKey& key);

// What every factory checks before it makes a communicator: at least two members, ascending, below
// `world_size`, `rank` among them, and the exchange peers. Returns the rank's position.
// Errors: INVALID_ARGUMENT naming the channel and the members.
absl::StatusOr<GroupRank> CheckKey(const CommunicatorKey& key, const CommunicatorOptions& options,
                                   GlobalRank rank, int64_t world_size);

}  // namespace hetero

#endif  // HETERO_COMM_CHECKED_COMMUNICATOR_H_
