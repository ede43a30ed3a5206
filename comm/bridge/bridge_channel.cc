#include "hetero/comm/bridge/bridge_channel.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Those of the given sides of `plan`.
Group RanksOf(const RowPlan& plan, bool sources, bool destinations) {
  Group ranks;
  const auto add = [&](const std::vector<ReplicaSet>& sets) {
    for (const ReplicaSet& set : sets) {
      ranks.insert(ranks.end(), set.ranks.begin(), set.ranks.end());
    }
  };
  if (sources) add(plan.sources);
  if (destinations) add(plan.destinations);
  std::ranges::sort(ranks);
  ranks.erase(std::ranges::unique(ranks).begin(), ranks.end());
  return ranks;
}

}  // namespace

absl::StatusOr<TensorView> BridgeReceive::Wait(Stream& stream) {
  --channel_->num_posted_;
  HETERO_RETURN_IF_ERROR(transfers_->Wait());
  if (channel_->replicas_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<TransferHandle> gather,
        channel_->replicas_->Exchange(shares_, gathers_, stream, channel_->gather_name_));
    HETERO_RETURN_IF_ERROR(gather->Wait());
  }
  if (num_padding_ > 0) {
    const int64_t num_rows = rows_.dim(0) - num_padding_;
    HETERO_RETURN_IF_ERROR(Fill(0, rows_.Rows(num_rows, num_padding_), stream));
  }
  return rows_;
}

absl::StatusOr<std::unique_ptr<BridgeChannel>> BridgeChannel::Create(
    BridgeChannelOptions options, const Grid& source, const Grid& destination, const RowPlan& plan,
    GlobalRank rank, CommunicatorFactory& factory, Device device, MemoryLedger& ledger) {
  auto channel = std::unique_ptr<BridgeChannel>(
      new BridgeChannel(std::move(options), source, destination, rank));
  const BridgeChannelOptions& o = channel->options_;
  channel->send_name_ = absl::StrCat(o.name, ".send");
  channel->receive_name_ = absl::StrCat(o.name, ".receive");
  channel->gather_name_ = absl::StrCat(o.name, ".gather");
  channel->is_source_ = FindReplicaSet(plan.sources, rank) != nullptr;
  const ReplicaSet* const replicas = FindReplicaSet(plan.destinations, rank);
  channel->is_destination_ = replicas != nullptr;
  CHECK(channel->is_source_ || channel->is_destination_)
      << "rank " << rank << " takes no part in " << o.name;

  if (const Group ranks = RanksOf(plan, true, true); ranks.size() > 1) {
    // Which rows go where differs by batch, so that any other end may be a peer.
    Group peers = RanksOf(plan, /*sources=*/channel->is_destination_,
                          /*destinations=*/channel->is_source_);
    std::erase(peers, rank);
    HETERO_ASSIGN_OR_RETURN(channel->transfers_,
                            factory.Create({o.name, ranks}, {.exchange_peers = std::move(peers)}));
  }
  if (replicas == nullptr) return channel;
  if (replicas->ranks.size() > 1) {
    HETERO_ASSIGN_OR_RETURN(channel->replicas_,
                            factory.Create({channel->gather_name_, replicas->ranks}));
  }
  HETERO_ASSIGN_OR_RETURN(
      channel->buffer_,
      Buffer::Allocate(device, MemoryLabel::kBridge,
                       o.num_slots * o.max_rows * o.width * SizeOf(o.dtype), ledger));
  return channel;
}

std::string BridgeChannel::Where(const Grid& grid, int64_t microbatch) const {
  return absl::StrCat(options_.name, ", microbatch ", microbatch, ": module ", grid.name(),
                      " lane ", grid.LaneOf(rank_), " (rank ", rank_, ")");
}

GroupRank BridgeChannel::PeerIn(const Communicator& communicator, GlobalRank rank) const {
  const std::optional<GroupRank> peer = RankIn(communicator.members(), rank);
  CHECK(peer.has_value()) << "rank " << rank << " is not in " << communicator.ToString();
  return *peer;
}

absl::StatusOr<std::unique_ptr<BridgeReceive>> BridgeChannel::PostReceive(const RowPlan& plan,
                                                                          int64_t microbatch,
                                                                          Stream& stream) {
  CHECK(is_destination_) << options_.name;
  const ReplicaSet& replicas = *FindReplicaSet(plan.destinations, rank_);
  if (replicas.num_rows > options_.max_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(destination_, microbatch), " receives ", replicas.num_rows,
                     " rows; the declared maximum is ", options_.max_rows));
  }
  if (num_posted_ == options_.num_slots) {
    return absl::FailedPreconditionError(
        absl::StrCat(Where(destination_, microbatch), " has ", num_posted_,
                     " receives posted, as many as there are slots"));
  }
  auto receive = std::unique_ptr<BridgeReceive>(new BridgeReceive);
  receive->channel_ = this;
  receive->num_padding_ = replicas.num_padding;
  receive->rows_ =
      buffer_.View(options_.dtype, {options_.num_slots, options_.max_rows, options_.width})
          .At(next_slot_)
          .Rows(0, replicas.num_rows);

  std::vector<ReceiveRequest> requests;
  for (const RowTransfer& transfer : ReceivesOf(plan, rank_)) {
    const TensorView rows = receive->rows_.Rows(transfer.destination_row, transfer.num_rows);
    if (transfer.source == rank_) {
      local_rows_.push_back(rows);
    } else {
      requests.push_back({PeerIn(*transfers_, transfer.source), rows});
    }
  }
  receive->transfers_ = std::make_unique<TransferHandle>();
  if (transfers_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(receive->transfers_,
                            transfers_->Exchange({}, requests, stream, receive_name_));
  }
  if (replicas_ != nullptr) {
    for (size_t i = 0; i < replicas.ranks.size(); ++i) {
      const auto rows_of = [&](const IndexRange& range) {
        return receive->rows_.Rows(range.first, range.count);
      };
      if (replicas.ranks[i] != rank_) {
        const GroupRank peer = PeerIn(*replicas_, replicas.ranks[i]);
        const size_t me = static_cast<size_t>(replicas_->rank().value());
        receive->gathers_.push_back({peer, rows_of(replicas.owned[i])});
        receive->shares_.push_back({peer, rows_of(replicas.owned[me])});
      }
    }
  }
  next_slot_ = (next_slot_ + 1) % options_.num_slots;
  ++num_posted_;
  return receive;
}

absl::StatusOr<std::unique_ptr<TransferHandle>> BridgeChannel::Send(ConstTensorView rows,
                                                                    const RowPlan& plan,
                                                                    int64_t microbatch,
                                                                    Stream& stream) {
  CHECK(is_source_) << options_.name;
  const int64_t num_rows = SourceRows(plan, rank_);
  if (rows.rank() != 2 || rows.dim(0) != num_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(source_, microbatch), " sends ", rows.ToString(),
                     "; the samples of its batch count ", num_rows, " rows"));
  }
  if (rows.dim(1) != options_.width || rows.dtype() != options_.dtype) {
    return absl::InvalidArgumentError(absl::StrCat(Where(source_, microbatch), " sends ",
                                                   rows.ToString(), "; expected rows of ",
                                                   options_.width, " ", Name(options_.dtype)));
  }
  std::vector<SendRequest> requests;
  for (const RowTransfer& transfer : SendsOf(plan, rank_)) {
    const ConstTensorView part = rows.Rows(transfer.source_row, transfer.num_rows);
    if (transfer.destination != rank_) {
      requests.push_back({PeerIn(*transfers_, transfer.destination), part});
      continue;
    }
    if (local_rows_.empty() || local_rows_.front().dim(0) != part.dim(0)) {
      return absl::FailedPreconditionError(
          absl::StrCat(Where(source_, microbatch), " sends ", part.dim(0),
                       " rows to itself; its receive must be posted before, in the same order"));
    }
    HETERO_RETURN_IF_ERROR(Copy(part, local_rows_.front(), stream));
    local_rows_.pop_front();
  }
  if (transfers_ == nullptr) return std::make_unique<TransferHandle>();
  return transfers_->Exchange(requests, {}, stream, send_name_);
}

}  // namespace hetero
