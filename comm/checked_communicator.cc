#include "hetero/comm/checked_communicator.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

absl::Status CheckContiguous(std::string_view operand, const ConstTensorView& view) {
  if (view.is_contiguous()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(operand, " is ", view.ToString(), "; expected a contiguous tensor"));
}

absl::Status CheckPair(const ConstTensorView& input, const ConstTensorView& output) {
  HETERO_RETURN_IF_ERROR(CheckContiguous("input", input));
  HETERO_RETURN_IF_ERROR(CheckContiguous("output", output));
  if (input.dtype() != output.dtype()) {
    return absl::InvalidArgumentError(absl::StrCat("output is ", output.ToString(), "; expected ",
                                                   Name(input.dtype()), " like the input"));
  }
  return absl::OkStatus();
}

absl::Status CheckElements(std::string_view operand, const ConstTensorView& view,
                           int64_t num_elements, std::string_view why) {
  if (view.num_elements() == num_elements) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(operand, " is ", view.ToString(), "; expected ",
                                                 num_elements, " elements, ", why));
}

absl::Status CheckRows(std::string_view operand, const ConstTensorView& view,
                       std::span<const int64_t> rows, int64_t num_members) {
  if (static_cast<int64_t>(rows.size()) != num_members ||
      std::ranges::any_of(rows, [](int64_t count) { return count < 0; })) {
    return absl::InvalidArgumentError(absl::StrCat(operand, " rows are [",
                                                   absl::StrJoin(rows, ", "), "]; expected ",
                                                   num_members, " counts, none negative"));
  }
  const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  if (view.rank() < 1 || view.dim(0) != total) {
    return absl::InvalidArgumentError(
        absl::StrCat(operand, " is ", view.ToString(), "; expected ", total, " rows"));
  }
  return absl::OkStatus();
}

absl::Status CheckEqualRowShape(const ConstTensorView& input, const ConstTensorView& output) {
  if (std::ranges::equal(input.dims().subspan(1), output.dims().subspan(1))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("output is ", output.ToString(),
                                                 "; expected rows like those of the input, ",
                                                 input.ToString()));
}

std::uintptr_t Begin(const ConstTensorView& view) {
  return reinterpret_cast<std::uintptr_t>(view.address());
}

// Whether tensors of real memory share some of it.
bool Overlap(const ConstTensorView& a, const ConstTensorView& b) {
  const auto end = [](const ConstTensorView& view) {
    return Begin(view) + static_cast<std::uintptr_t>(view.num_bytes());
  };
  return a.num_bytes() > 0 && b.num_bytes() > 0 && Begin(a) < end(b) && Begin(b) < end(a);
}

// `place` says which memory the two may share: all of the smaller, `offset` bytes into the larger.
absl::Status CheckInPlace(const ConstTensorView& smaller, const ConstTensorView& larger,
                          int64_t offset, std::string_view place) {
  if (!Overlap(smaller, larger) ||
      Begin(smaller) == Begin(larger) + static_cast<std::uintptr_t>(offset)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("input and output overlap; expected ", place, " or memory apart"));
}

// What a GPU needs for communication shows in the account of its stream. A CPU's account is of the
// work of a thread, which mostly waits here.
std::optional<OperationScope> TimedOnGpu(std::string_view name, double bytes, Stream& stream) {
  if (!stream.device().IsCuda() || stream.shape_only()) return std::nullopt;
  return std::optional<OperationScope>(std::in_place, stream, OperationCost{name, 0, bytes});
}

// Keeps the wait for an exchange in the flight ring, as a call of its own: others may lie between.
class RecordedTransfer final : public TransferHandle {
 public:
  RecordedTransfer(std::unique_ptr<TransferHandle> transfer, FlightRing* flight,
                   std::string_view name, std::string_view where, std::span<const int64_t> peers,
                   Stream& stream)
      : transfer_(std::move(transfer)),
        flight_(flight),
        name_(name),
        where_(where),
        peers_(peers.begin(), peers.end()),
        stream_(stream) {}

  absl::Status Wait() override {
    FlightCall record(flight_, name_, "wait", where_, {.peers = peers_});
    const std::optional<OperationScope> timed = TimedOnGpu("wait for exchange", 0, stream_);
    HETERO_RETURN_IF_ERROR(transfer_->Wait());
    record.End();
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<TransferHandle> transfer_;
  FlightRing* const flight_;
  const std::string name_;
  const std::string where_;
  const std::vector<int64_t> peers_;
  Stream& stream_;
};

}  // namespace

CheckedCommunicator::CheckedCommunicator(std::string_view backend, CommunicatorKey key,
                                         GroupRank rank, const CommunicatorOptions& options,
                                         FlightRing* flight)
    : key_(std::move(key)),
      text_(hetero::ToString(backend, key_)),
      rank_(rank),
      exchange_peers_(options.exchange_peers),
      flight_(flight) {
  for (size_t i = 0; i < key_.members.size(); ++i) {
    if (static_cast<int64_t>(i) != rank_.value()) others_.push_back(key_.members[i].value());
  }
}

absl::Status CheckedCommunicator::CheckPeer(std::string_view what, GroupRank peer) const {
  if (!IsMember(peer)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " names peer ", peer, "; expected a member below ", size()));
  }
  const GlobalRank rank = key_.members[static_cast<size_t>(peer.value())];
  if (!exchange_peers_.has_value() || peer == rank_ ||
      std::ranges::find(*exchange_peers_, rank) != exchange_peers_->end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " names rank ", rank,
                                                 "; the communicator was made for messages with ",
                                                 hetero::ToString(*exchange_peers_)));
}

absl::Status CheckedCommunicator::Fail(std::string_view kind, std::string_view name,
                                       const absl::Status& status) const {
  return Annotate(status, absl::StrCat(kind, " '", name, "' on ", text_));
}

template <typename Work>
absl::Status CheckedCommunicator::Account(std::string_view kind, std::string_view name,
                                          int64_t bytes, Stream& stream,
                                          const FlightDetails& details, Work work) {
  stream.ledger().AddCollective(name, kind, bytes);
  if (stream.shape_only()) return absl::OkStatus();
  FlightCall record(flight_, name, kind, text_, details);
  HETERO_RETURN_IF_ERROR(work());
  record.End();
  return absl::OkStatus();
}

absl::Status CheckedCommunicator::Check(const Collective& call, const Stream& stream) const {
  const auto& [kind, name, input, output, op, root, send_rows, receive_rows] = call;
  if (kind == CollectiveKind::kBroadcast) {
    HETERO_RETURN_IF_ERROR(CheckContiguous("tensor", input));
    if (IsMember(root)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("root is ", root, "; expected a member below ", size()));
  }
  HETERO_RETURN_IF_ERROR(CheckPair(input, output));
  const bool has_memory = !stream.shape_only();
  const size_t me = static_cast<size_t>(rank_.value());
  switch (kind) {
    case CollectiveKind::kBroadcast:
      break;
    case CollectiveKind::kAllReduce:
      HETERO_RETURN_IF_ERROR(
          CheckElements("output", output, input.num_elements(), "as many as the input"));
      return has_memory ? CheckInPlace(output, input, 0, "output to be input") : absl::OkStatus();
    case CollectiveKind::kReduceScatter:
      HETERO_RETURN_IF_ERROR(CheckElements("input", input, size() * output.num_elements(),
                                           "the output's for each member"));
      return has_memory ? CheckInPlace(output, input, rank_.value() * output.num_bytes(),
                                       "output to be this member's chunk of input")
                        : absl::OkStatus();
    case CollectiveKind::kAllGather:
      HETERO_RETURN_IF_ERROR(CheckElements("output", output, size() * input.num_elements(),
                                           "the input's from each member"));
      return has_memory ? CheckInPlace(input, output, rank_.value() * input.num_bytes(),
                                       "input to be this member's chunk of output")
                        : absl::OkStatus();
    case CollectiveKind::kAllToAll:
      HETERO_RETURN_IF_ERROR(CheckRows("input", input, send_rows, size()));
      HETERO_RETURN_IF_ERROR(CheckRows("output", output, receive_rows, size()));
      HETERO_RETURN_IF_ERROR(CheckEqualRowShape(input, output));
      if (send_rows[me] != receive_rows[me]) {
        return absl::InvalidArgumentError(absl::StrCat("sends ", send_rows[me],
                                                       " rows to itself and receives ",
                                                       receive_rows[me], "; expected as many"));
      }
      if (has_memory && Overlap(input, output)) {
        return absl::InvalidArgumentError("input and output overlap; expected memory apart");
      }
      break;
  }
  return absl::OkStatus();
}

int64_t CheckedCommunicator::BytesSent(const Collective& call) const {
  const int64_t others = size() - 1;
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return 2 * call.input.num_bytes() * others / size();
    case CollectiveKind::kReduceScatter:
      return call.output.num_bytes() * others;
    case CollectiveKind::kAllGather:
      return call.input.num_bytes() * others;
    case CollectiveKind::kAllToAll: {
      const int64_t num_rows = call.input.dim(0);
      const int64_t own_rows = call.send_rows[static_cast<size_t>(rank_.value())];
      return num_rows == 0 ? 0 : call.input.num_bytes() / num_rows * (num_rows - own_rows);
    }
    case CollectiveKind::kBroadcast:
      return call.root == rank_ ? call.input.num_bytes() : 0;
  }
  return 0;
}

absl::Status CheckedCommunicator::CheckAndRun(const Collective& call, Stream& stream) {
  const absl::Status valid = Check(call, stream);
  if (!valid.ok()) return Fail(Name(call.kind), call.name, valid);
  const FlightDetails details = {.number = ++num_collectives_, .peers = others_};
  return Account(Name(call.kind), call.name, BytesSent(call), stream, details, [&] {
    const std::optional<OperationScope> timed =
        TimedOnGpu(Name(call.kind), static_cast<double>(BytesSent(call)), stream);
    return RunCollective(call, stream);
  });
}

absl::Status CheckedCommunicator::AllReduce(ConstTensorView input, TensorView output, ReduceOp op,
                                            Stream& stream, std::string_view name) {
  return CheckAndRun({.kind = CollectiveKind::kAllReduce,
                      .name = name,
                      .input = input,
                      .output = output,
                      .op = op},
                     stream);
}

absl::Status CheckedCommunicator::ReduceScatter(ConstTensorView input, TensorView output,
                                                Stream& stream, std::string_view name) {
  return CheckAndRun(
      {.kind = CollectiveKind::kReduceScatter, .name = name, .input = input, .output = output},
      stream);
}

absl::Status CheckedCommunicator::AllGather(ConstTensorView input, TensorView output,
                                            Stream& stream, std::string_view name) {
  return CheckAndRun(
      {.kind = CollectiveKind::kAllGather, .name = name, .input = input, .output = output}, stream);
}

absl::Status CheckedCommunicator::AllToAllV(ConstTensorView input,
                                            std::span<const int64_t> send_rows, TensorView output,
                                            std::span<const int64_t> receive_rows, Stream& stream,
                                            std::string_view name) {
  return CheckAndRun({.kind = CollectiveKind::kAllToAll,
                      .name = name,
                      .input = input,
                      .output = output,
                      .send_rows = send_rows,
                      .receive_rows = receive_rows},
                     stream);
}

absl::Status CheckedCommunicator::Broadcast(TensorView tensor, GroupRank root, Stream& stream,
                                            std::string_view name) {
  return CheckAndRun({.kind = CollectiveKind::kBroadcast,
                      .name = name,
                      .input = tensor,
                      .output = tensor,
                      .root = root},
                     stream);
}

absl::StatusOr<std::unique_ptr<TransferHandle>> CheckedCommunicator::Exchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  const auto check = [&](std::string_view what, GroupRank peer,
                         const ConstTensorView& tensor) -> absl::Status {
    HETERO_RETURN_IF_ERROR(CheckPeer(what, peer));
    return CheckContiguous(what, tensor);
  };
  sends_.clear();
  receives_.clear();
  int64_t sent_bytes = 0;
  for (const SendRequest& send : sends) {
    if (const absl::Status valid = check("a send", send.peer, send.tensor); !valid.ok()) {
      return Fail("exchange", name, valid);
    }
    sent_bytes += send.tensor.num_bytes();
    if (send.tensor.num_elements() > 0) sends_.push_back(send);
  }
  for (const ReceiveRequest& receive : receives) {
    if (const absl::Status valid = check("a receive", receive.peer, receive.tensor); !valid.ok()) {
      return Fail("exchange", name, valid);
    }
    if (receive.tensor.num_elements() == 0) continue;
    const auto overlaps = [&](const auto& other) { return Overlap(other.tensor, receive.tensor); };
    if (!stream.shape_only() &&
        (std::ranges::any_of(sends_, overlaps) || std::ranges::any_of(receives_, overlaps))) {
      return Fail("exchange", name,
                  absl::InvalidArgumentError(
                      absl::StrCat("the tensor received from ", receive.peer,
                                   " overlaps that of another message; expected memory apart")));
    }
    receives_.push_back(receive);
  }
  std::unique_ptr<TransferHandle> transfer = std::make_unique<TransferHandle>();
  const bool has_messages = !sends_.empty() || !receives_.empty();
  peers_.clear();
  const auto add = [&](const auto& message) {
    peers_.push_back(key_.members[static_cast<size_t>(message.peer.value())].value());
  };
  std::ranges::for_each(sends_, add);
  std::ranges::for_each(receives_, add);
  const auto run = [&]() -> absl::Status {
    if (!has_messages) return absl::OkStatus();
    HETERO_ASSIGN_OR_RETURN(transfer, RunExchange(sends_, receives_, stream, name));
    transfer = std::make_unique<RecordedTransfer>(std::move(transfer), flight_, name, text_, peers_,
                                                  stream);
    return absl::OkStatus();
  };
  HETERO_RETURN_IF_ERROR(Account("exchange", name, sent_bytes, stream, {.peers = peers_}, run));
  return transfer;
}

std::string ToString(std::string_view backend, const CommunicatorKey& key) {
  return absl::StrCat(
      backend, "[",
      absl::StrJoin(key.members, ",",
                    [](std::string* out, GlobalRank rank) { absl::StrAppend(out, rank.value()); }),
      "] ", key.channel);
}

absl::StatusOr<GroupRank> CheckKey(const CommunicatorKey& key, const CommunicatorOptions& options,
                                   GlobalRank rank, int64_t world_size) {
  const std::optional<GroupRank> position = RankIn(key.members, rank);
  const bool ascending =
      std::ranges::adjacent_find(key.members, std::greater_equal<>()) == key.members.end();
  if (key.members.size() < 2 || !ascending || !position || key.members.front() < GlobalRank(0) ||
      key.members.back() >= GlobalRank(world_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "communicator ", key.channel, " has the members ", ToString(key.members),
        "; expected at least two, ascending, below ", world_size, ", with rank ", rank));
  }
  if (options.exchange_peers.has_value()) {
    for (const GlobalRank peer : *options.exchange_peers) {
      if (RankIn(key.members, peer).has_value()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("communicator ", key.channel, " of ", ToString(key.members),
                       " is to have messages with rank ", peer, ", which is no member"));
    }
  }
  return *position;
}

}  // namespace hetero
