#ifndef HETERO_COMM_BRIDGE_BRIDGE_CHANNEL_H_
#define HETERO_COMM_BRIDGE_BRIDGE_CHANNEL_H_

// One direction of an edge between two modules: rows of activations, or of their gradients.
//
// Receives go straight to their row offsets in one of a ring of preallocated buffers, and are
// posted ahead of use: PostReceive for microbatch i + 1, then Wait for i, which completes the rows
// among the replicas of a lane. Nothing about sizes is sent; both ends know them from the plan, and
// transfers of zero rows are left out on both.

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct BridgeChannelOptions {
  std::string name;  // of calls and channels: "bridge.forward.0"
  DType dtype = DType::kF32;
  int64_t width = 0;      // elements of a row
  int64_t num_slots = 1;  // receives posted and not yet waited for, at most
  int64_t max_rows = 0;   // of a received microbatch at one rank
};

class BridgeChannel;

// A posted receive. Waited for once, in the order of posting; destroying it without is a bug of the
// caller unless the run has failed.
class BridgeReceive {
 public:
  // The rows of this rank, [rows of the plan, width], zero where they are padding. They stay until
  // `num_slots` later receives of the channel are posted. Errors: those of Communicator::Exchange.
  absl::StatusOr<TensorView> Wait(Stream& stream);

 private:
  friend class BridgeChannel;

  BridgeReceive() = default;

  BridgeChannel* channel_ = nullptr;
  TensorView rows_;
  int64_t num_padding_ = 0;  // the last of them, which nobody sends
  std::unique_ptr<TransferHandle> transfers_;
  // The replicas complete each other's rows in one exchange: a receive of its own, posted ahead,
  // would hold up the send behind it where messages of a channel complete in order.
  std::vector<SendRequest> shares_;      // what this rank owns, for the other replicas
  std::vector<ReceiveRequest> gathers_;  // what they own
};

// One thread, the rank's, uses a channel.
class BridgeChannel {
 public:
  // `plan` is the channel's plan for any counts: its replica sets say which ranks take part and who
  // completes whose rows. Communicators come from `factory` when more than one rank takes part.
  // Precondition: `rank` is in `plan`. The grids (for messages), `ledger` and `factory`'s world
  // outlive the channel.
  static absl::StatusOr<std::unique_ptr<BridgeChannel>> Create(BridgeChannelOptions options,
                                                               const Grid& source,
                                                               const Grid& destination,
                                                               const RowPlan& plan, GlobalRank rank,
                                                               CommunicatorFactory& factory,
                                                               Device device, MemoryLedger& ledger);

  // Starts to receive microbatch `microbatch` by `plan`. Precondition: this rank is a destination.
  // Errors: INVALID_ARGUMENT naming module, lane, microbatch and the maximum when the plan brings
  // more rows; FAILED_PRECONDITION when all slots wait.
  absl::StatusOr<std::unique_ptr<BridgeReceive>> PostReceive(const RowPlan& plan,
                                                             int64_t microbatch, Stream& stream);

  // Starts to send `rows` [rows of the plan, width], unchanged by the caller until Wait returns.
  // Where plan sends rows from a rank to itself, they are copied to its earliest receive, which is
  // posted before. Precondition: this rank is a source.
  // Errors: INVALID_ARGUMENT naming module, lane, microbatch and both numbers when `rows` has not
  // the rows of the plan, or another width or type.
  absl::StatusOr<std::unique_ptr<TransferHandle>> Send(ConstTensorView rows, const RowPlan& plan,
                                                       int64_t microbatch, Stream& stream);

  bool is_source() const { return is_source_; }
  bool is_destination() const { return is_destination_; }
  const std::string& name() const { return options_.name; }

 private:
  friend class BridgeReceive;

  BridgeChannel(BridgeChannelOptions options, const Grid& source, const Grid& destination,
                GlobalRank rank)
      : options_(std::move(options)), source_(source), destination_(destination), rank_(rank) {}

  // "bridge.forward.0, microbatch 3: module vision lane 2"
  std::string Where(const Grid& grid, int64_t microbatch) const;
  GroupRank PeerIn(const Communicator& communicator, GlobalRank rank) const;

  BridgeChannelOptions options_;
  const Grid& source_;
  const Grid& destination_;
  GlobalRank rank_;
  bool is_source_ = false;
  bool is_destination_ = false;
  std::string send_name_;
  std::string receive_name_;
  std::string gather_name_;
  std::unique_ptr<Communicator> transfers_;  // null when this rank is alone
  std::unique_ptr<Communicator> replicas_;   // null when nobody else holds its rows
  Buffer buffer_;
  int64_t next_slot_ = 0;
  int64_t num_posted_ = 0;             // and not yet waited for
  std::deque<TensorView> local_rows_;  // of posted receives that await rows of this very rank
};

}  // namespace hetero

#endif  // HETERO_COMM_BRIDGE_BRIDGE_CHANNEL_H_
