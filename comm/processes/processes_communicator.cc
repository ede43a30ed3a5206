#include "hetero/comm/processes/processes_communicator.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

namespace hetero::internal {
namespace {

constexpr int64_t kHeadBytes = offsetof(Envelope, tensor);
constexpr int64_t kWholeEnvelopeBytes = sizeof(Envelope);
// Of every member's input this much is on its way to be reduced, and as much is being reduced.
constexpr int64_t kBlockBytes = int64_t{1} << 20;
// Chunks of an all-reduce begin on lines of their own.
constexpr int64_t kLineElements = 64;

// The same on all machines, which std::hash need not be.
uint64_t Mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15 + (hash << 6) + (hash >> 2);
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0;
  for (const char c : text) hash = Mix(hash, static_cast<unsigned char>(c));
  return hash;
}

std::byte* At(void* base, int64_t bytes) { return static_cast<std::byte*>(base) + bytes; }
const std::byte* At(const void* base, int64_t bytes) {
  return static_cast<const std::byte*>(base) + bytes;
}

void Copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<size_t>(bytes));
}

TensorView Elements(const TensorView& tensor, int64_t begin, int64_t count) {
  return TensorView(At(tensor.address(), begin * SizeOf(tensor.dtype())), tensor.dtype(), {count});
}

ConstTensorView Elements(const ConstTensorView& tensor, int64_t begin, int64_t count) {
  return ConstTensorView(At(tensor.address(), begin * SizeOf(tensor.dtype())), tensor.dtype(),
                         {count});
}

}  // namespace

struct ProcessesCommunicator::Message {
  bool is_send = false;
  size_t peer = 0;
  ConstTensorView source;  // of a send
  TensorView destination;  // of a receive
  EnvelopeHead head;
  std::unique_ptr<Envelope> envelope = std::make_unique<Envelope>();
  Pending arrival;  // of the envelope; none of a message to itself
  Pending tensor;
  bool is_done = false;  // of a message to itself
};

// Messages of one exchange. An envelope each, and a message for what is larger.
class ProcessesCommunicator::ExchangeHandle final : public TransferHandle {
 public:
  ~ExchangeHandle() override {
    std::erase_if(communicator_.to_self_, [this](const Message* queued) {
      return std::ranges::any_of(messages_, [&](const Message& own) { return &own == queued; });
    });
  }

  ExchangeHandle(ProcessesCommunicator& communicator, std::string_view name, size_t num_messages)
      : communicator_(communicator), name_(name) {
    messages_.reserve(num_messages);
  }

  absl::Status Post(bool is_send, GroupRank peer, const ConstTensorView& source,
                    const TensorView& destination) {
    Message& message = messages_.emplace_back();
    message.is_send = is_send;
    message.peer = static_cast<size_t>(peer.value());
    message.source = source;
    message.destination = destination;
    const int64_t bytes = source.num_bytes();
    const bool small = bytes <= kEnvelopeBytes;
    EnvelopeHead& head = message.head;
    head = {.call = CallKind::kMessage,
            .dtype = source.dtype(),
            .has_tensor = small,
            .num_elements = source.num_elements()};
    head.SetName(name_);
    if (message.peer == communicator_.me()) return communicator_.PostToSelf(message);
    Peer& other = *communicator_.peers_[message.peer];
    const uint64_t number = is_send ? other.num_sent++ : other.num_received++;
    const uint64_t slot = communicator_.SlotOf(CallKind::kMessage, number, 0, 0);
    const uint64_t tensor_slot = communicator_.SlotOf(CallKind::kMessage, number, 1, bytes);
    GlooTransport& transport = communicator_.state_.transport();
    message.arrival.peer = message.tensor.peer = other.rank;
    if (is_send) {
      message.envelope->head = head;
      if (small) Copy(message.envelope->tensor.data(), source.address(), bytes);
      HETERO_ASSIGN_OR_RETURN(message.arrival.message,
                              transport.Send(other.rank, slot, message.envelope.get(),
                                             kHeadBytes + (small ? bytes : 0)));
      if (small) return absl::OkStatus();
      HETERO_ASSIGN_OR_RETURN(message.tensor.message,
                              transport.Send(other.rank, tensor_slot, source.address(), bytes));
      return absl::OkStatus();
    }
    HETERO_ASSIGN_OR_RETURN(
        message.arrival.message,
        transport.Receive(other.rank, slot, message.envelope.get(), kWholeEnvelopeBytes));
    if (small) return absl::OkStatus();
    HETERO_ASSIGN_OR_RETURN(
        message.tensor.message,
        transport.Receive(other.rank, tensor_slot, destination.address(), bytes));
    return absl::OkStatus();
  }

  absl::Status Wait() override {
    communicator_.state_.BeginCall(name_, communicator_.ToString());
    for (Message& message : messages_) HETERO_RETURN_IF_ERROR(Finish(message));
    communicator_.state_.EndCall();
    return absl::OkStatus();
  }

 private:
  absl::Status Finish(Message& message) {
    if (message.is_done) return absl::OkStatus();
    if (message.arrival.message == nullptr) {
      return communicator_.state_.Fail(absl::InvalidArgumentError(
          absl::StrCat(communicator_.ToString(), ": ", message.head.ToString(),
                       " from a rank to itself has no other end")));
    }
    HETERO_RETURN_IF_ERROR(communicator_.Await(message.arrival));
    if (!message.is_send) {
      const EnvelopeHead& sent = message.envelope->head;
      HETERO_RETURN_IF_ERROR(communicator_.Compare(message.head, message.arrival.peer, sent));
      if (sent.has_tensor != 0) {
        Copy(message.destination.address(), message.envelope->tensor.data(),
             message.destination.num_bytes());
      }
    }
    if (message.tensor.message == nullptr) return absl::OkStatus();
    return communicator_.Await(message.tensor);
  }

  ProcessesCommunicator& communicator_;
  const std::string name_;
  std::vector<Message> messages_;
};

absl::Status ProcessesCommunicator::Compare(const EnvelopeHead& received, GlobalRank sender,
                                            const EnvelopeHead& sent) {
  if (sent.call == CallKind::kMessage && sent.dtype == received.dtype &&
      sent.num_elements == received.num_elements) {
    return absl::OkStatus();
  }
  return state_.Fail(absl::InvalidArgumentError(absl::StrCat(
      ToString(), ": the two ends of a message differ: rank ", members()[me()], " receives ",
      received.ToString(), ", rank ", sender, " sends ", sent.ToString())));
}

absl::Status ProcessesCommunicator::PostToSelf(Message& message) {
  const auto other = std::ranges::find_if(
      to_self_, [&](const Message* queued) { return queued->is_send != message.is_send; });
  if (other == to_self_.end()) {
    to_self_.push_back(&message);
    return absl::OkStatus();
  }
  Message& sent = message.is_send ? message : **other;
  Message& received = message.is_send ? **other : message;
  to_self_.erase(other);
  HETERO_RETURN_IF_ERROR(Compare(received.head, members()[me()], sent.head));
  Copy(received.destination.address(), sent.source.address(), received.destination.num_bytes());
  sent.is_done = received.is_done = true;
  return absl::OkStatus();
}

ProcessesCommunicator::ProcessesCommunicator(const CommunicatorKey& key, GroupRank rank,
                                             const CommunicatorOptions& options,
                                             ProcessesState& state)
    : CheckedCommunicator("processes", key, rank, options, &state.flight()),
      state_(state),
      id_(HashOf(hetero::ToString("processes", key))),
      peers_(key.members.size()) {}

absl::StatusOr<std::unique_ptr<ProcessesCommunicator>> ProcessesCommunicator::Create(
    const CommunicatorKey& key, GroupRank rank, const CommunicatorOptions& options,
    ProcessesState& state) {
  std::unique_ptr<ProcessesCommunicator> made(new ProcessesCommunicator(key, rank, options, state));
  std::vector<size_t> peers;
  if (!options.exchange_peers.has_value()) {
    peers = made->AllPeers();
  } else if (options.exchange_peers->empty()) {
    peers = made->uses_tree() ? made->TreeNeighbours() : made->AllPeers();
  } else {
    for (size_t i = 0; i < key.members.size(); ++i) {
      if (std::ranges::count(*options.exchange_peers, key.members[i]) > 0) peers.push_back(i);
    }
  }
  HETERO_RETURN_IF_ERROR(made->ConnectTo(peers));
  return made;
}

std::vector<size_t> ProcessesCommunicator::AllPeers() const {
  std::vector<size_t> peers(members().size());
  std::iota(peers.begin(), peers.end(), size_t{0});
  return peers;
}

absl::Status ProcessesCommunicator::ConnectTo(std::span<const size_t> peers) {
  std::vector<GlobalRank> ranks;
  for (const size_t i : peers) {
    if (i == me() || peers_[i] != nullptr) continue;
    ranks.push_back(members()[i]);
    peers_[i] = std::make_unique<Peer>();
    peers_[i]->rank = members()[i];
  }
  return ranks.empty() ? absl::OkStatus() : state_.Connect(std::move(ranks), ToString());
}

uint64_t ProcessesCommunicator::SlotOf(CallKind kind, uint64_t number, uint64_t part,
                                       int64_t bytes) const {
  return Mix(Mix(Mix(Mix(id_, static_cast<uint64_t>(kind)), number), part),
             static_cast<uint64_t>(bytes));
}

absl::StatusOr<ProcessesCommunicator::Pending> ProcessesCommunicator::Send(
    size_t peer, uint64_t part, const void* data, int64_t bytes, int64_t slot_bytes) {
  const uint64_t slot = SlotOf(CallKind::kCollective, num_calls_, part, slot_bytes);
  Pending pending{.peer = members()[peer]};
  HETERO_ASSIGN_OR_RETURN(pending.message,
                          state_.transport().Send(pending.peer, slot, data, bytes));
  return pending;
}

absl::StatusOr<ProcessesCommunicator::Pending> ProcessesCommunicator::Receive(
    size_t peer, uint64_t part, void* data, int64_t bytes, int64_t slot_bytes) {
  const uint64_t slot = SlotOf(CallKind::kCollective, num_calls_, part, slot_bytes);
  Pending pending{.peer = members()[peer]};
  HETERO_ASSIGN_OR_RETURN(pending.message,
                          state_.transport().Receive(pending.peer, slot, data, bytes));
  return pending;
}

absl::Status ProcessesCommunicator::Await(Pending& pending) {
  return state_.Await(*pending.message, pending.peer, ToString());
}

absl::Status ProcessesCommunicator::AwaitSends() {
  for (Pending& send : sends_) HETERO_RETURN_IF_ERROR(Await(send));
  sends_.clear();
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::SendEnvelopes(const Collective& call, bool small) {
  EnvelopeHead head = HeadOf(call);
  if (call.kind == CollectiveKind::kAllToAll) head.row_elements = call.row_elements();
  const int64_t bytes = call.input.num_bytes();
  const bool has_tensor = small && (call.kind != CollectiveKind::kBroadcast || call.root == rank());
  head.has_tensor = has_tensor;
  // An envelope has one slot whatever the call: two that differ are to meet.
  const uint64_t slot = SlotOf(CallKind::kCollective, num_calls_, 0, 0);
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (i == me()) continue;
    Peer& peer = *peers_[i];
    peer.arrival.peer = peer.rank;
    HETERO_ASSIGN_OR_RETURN(
        peer.arrival.message,
        state_.transport().Receive(peer.rank, slot, &peer.in, kWholeEnvelopeBytes));
    if (call.kind == CollectiveKind::kAllToAll) {
      head.send_rows = call.send_rows[i];
      head.receive_rows = call.receive_rows[i];
    }
    peer.out.head = head;
    if (has_tensor) Copy(peer.out.tensor.data(), call.input.address(), bytes);
    Pending& send = sends_.emplace_back();
    send.peer = peer.rank;
    HETERO_ASSIGN_OR_RETURN(
        send.message,
        state_.transport().Send(peer.rank, slot, &peer.out, kHeadBytes + (has_tensor ? bytes : 0)));
  }
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::AwaitEnvelopes() {
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    HETERO_RETURN_IF_ERROR(Await(peer->arrival));
    HETERO_RETURN_IF_ERROR(CompareCalls(peer->out.head, peer->rank, peer->in.head));
  }
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::CompareCalls(const EnvelopeHead& own, GlobalRank peer,
                                                 const EnvelopeHead& theirs) {
  if (SameCall(own, theirs)) return absl::OkStatus();
  return state_.Fail(absl::InvalidArgumentError(
      absl::StrCat(ToString(), ": members called different things: rank ", members()[me()], " ",
                   own.ToString(), ", rank ", peer, " ", theirs.ToString())));
}

absl::Status ProcessesCommunicator::RunCollective(const Collective& call, Stream& stream) {
  if (stream.device().IsCuda()) {
    return absl::InvalidArgumentError("this backend has tensors in host memory only");
  }
  state_.BeginCall(call.name, ToString());
  ++num_calls_;
  sends_.clear();
  const bool small =
      call.kind != CollectiveKind::kAllToAll && call.input.num_bytes() <= kEnvelopeBytes;
  if (uses_tree()) {
    HETERO_RETURN_IF_ERROR(RunInTree(call, small, stream));
    if (small) {
      state_.EndCall();
      return absl::OkStatus();
    }
  }
  HETERO_RETURN_IF_ERROR(ConnectTo(AllPeers()));
  HETERO_RETURN_IF_ERROR(SendEnvelopes(call, small));
  if (small) {
    HETERO_RETURN_IF_ERROR(AwaitEnvelopes());
    HETERO_RETURN_IF_ERROR(FinishSmall(call, stream));
  } else {
    switch (call.kind) {
      case CollectiveKind::kAllReduce:
        HETERO_RETURN_IF_ERROR(AllReduce(call, stream));
        break;
      case CollectiveKind::kReduceScatter:
        HETERO_RETURN_IF_ERROR(ReduceScatter(call, stream));
        break;
      case CollectiveKind::kAllGather:
        HETERO_RETURN_IF_ERROR(AwaitEnvelopes());
        HETERO_RETURN_IF_ERROR(
            AllGather(call.input.address(), call.input.num_bytes(), call.output.address(), 1));
        break;
      case CollectiveKind::kAllToAll:
        HETERO_RETURN_IF_ERROR(AllToAll(call));
        break;
      case CollectiveKind::kBroadcast:
        HETERO_RETURN_IF_ERROR(Broadcast(call));
        break;
    }
  }
  HETERO_RETURN_IF_ERROR(AwaitSends());
  state_.EndCall();
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::FinishSmall(const Collective& call, Stream& stream) {
  const auto input_of = [&](size_t i) -> const void* {
    return i == me() ? call.input.address() : peers_[i]->in.tensor.data();
  };
  const int64_t bytes = call.input.num_bytes();
  switch (call.kind) {
    case CollectiveKind::kBroadcast:
      Copy(call.output.address(), input_of(static_cast<size_t>(call.root.value())), bytes);
      return absl::OkStatus();
    case CollectiveKind::kAllGather:
      for (size_t i = 0; i < peers_.size(); ++i) {
        Copy(At(call.output.address(), static_cast<int64_t>(i) * bytes), input_of(i), bytes);
      }
      return absl::OkStatus();
    default: {
      const int64_t count = call.output.num_elements();
      const int64_t begin =
          call.kind == CollectiveKind::kReduceScatter ? rank().value() * count : 0;
      std::vector<ConstTensorView> inputs;
      for (size_t i = 0; i < peers_.size(); ++i) {
        inputs.emplace_back(At(input_of(i), begin * SizeOf(call.input.dtype())), call.input.dtype(),
                            std::initializer_list<int64_t>{count});
      }
      const TensorView outputs[] = {call.output.Reshape({count})};
      return RankReduce(inputs, outputs, call.op, stream);
    }
  }
}

absl::Status ProcessesCommunicator::AllGather(const void* input, int64_t bytes, void* output,
                                              uint64_t part) {
  std::vector<Pending> receives;
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (i == me()) continue;
    HETERO_ASSIGN_OR_RETURN(receives.emplace_back(),
                            Receive(i, part, At(output, static_cast<int64_t>(i) * bytes), bytes));
    HETERO_ASSIGN_OR_RETURN(sends_.emplace_back(), Send(i, part, input, bytes));
  }
  Copy(At(output, rank().value() * bytes), input, bytes);
  for (Pending& receive : receives) HETERO_RETURN_IF_ERROR(Await(receive));
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::AllToAll(const Collective& call) {
  HETERO_RETURN_IF_ERROR(AwaitEnvelopes());
  const int64_t row_bytes = call.row_elements() * SizeOf(call.input.dtype());
  std::vector<Pending> receives;
  int64_t sent = 0;
  int64_t received = 0;
  for (size_t i = 0; i < peers_.size(); ++i) {
    const int64_t out = call.send_rows[i] * row_bytes;
    const int64_t in = call.receive_rows[i] * row_bytes;
    const std::byte* const from = At(call.input.address(), sent);
    std::byte* const to = At(call.output.address(), received);
    sent += out;
    received += in;
    if (i == me()) {
      Copy(to, from, out);
      continue;
    }
    if (in > 0) {
      HETERO_ASSIGN_OR_RETURN(receives.emplace_back(), Receive(i, 1, to, in));
    }
    if (out > 0) {
      HETERO_ASSIGN_OR_RETURN(sends_.emplace_back(), Send(i, 1, from, out));
    }
  }
  for (Pending& receive : receives) HETERO_RETURN_IF_ERROR(Await(receive));
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::Broadcast(const Collective& call) {
  HETERO_RETURN_IF_ERROR(AwaitEnvelopes());
  const int64_t bytes = call.input.num_bytes();
  if (call.root != rank()) {
    HETERO_ASSIGN_OR_RETURN(Pending receive, Receive(static_cast<size_t>(call.root.value()), 1,
                                                     call.output.address(), bytes));
    return Await(receive);
  }
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (i == me()) continue;
    HETERO_ASSIGN_OR_RETURN(sends_.emplace_back(), Send(i, 1, call.input.address(), bytes));
  }
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::Reduce(const Collective& call, std::span<const Chunk> chunks,
                                           TensorView output, Stream& stream) {
  const int64_t size = SizeOf(call.input.dtype());
  const int64_t block = kBlockBytes / size;
  const auto num_blocks = [&](const Chunk& chunk) { return CeilDiv(chunk.count, block); };
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (i == me()) continue;
    for (int64_t b = 0; b < num_blocks(chunks[i]); ++b) {
      const int64_t begin = b * block;
      const int64_t bytes = std::min(block, chunks[i].count - begin) * size;
      HETERO_ASSIGN_OR_RETURN(
          sends_.emplace_back(),
          Send(i, static_cast<uint64_t>(b) + 1,
               At(call.input.address(), (chunks[i].begin + begin) * size), bytes));
    }
  }
  const Chunk own = chunks[me()];
  const size_t num_peers = peers_.size() - 1;
  const size_t block_lines =
      static_cast<size_t>(CeilDiv(std::min(block, own.count) * size, int64_t{sizeof(Line)}));
  scratch_.resize(std::max(scratch_.size(), 2 * num_peers * block_lines));
  std::array<std::vector<Pending>, 2> receives;
  const auto place = [&](int64_t b, size_t i) {
    const size_t peer = i < me() ? i : i - 1;
    return scratch_.data() + (static_cast<size_t>(b % 2) * num_peers + peer) * block_lines;
  };
  const auto post = [&](int64_t b) -> absl::Status {
    if (b >= num_blocks(own)) return absl::OkStatus();
    const int64_t bytes = std::min(block, own.count - b * block) * size;
    for (size_t i = 0; i < peers_.size(); ++i) {
      if (i == me()) continue;
      HETERO_ASSIGN_OR_RETURN(receives[static_cast<size_t>(b % 2)].emplace_back(),
                              Receive(i, static_cast<uint64_t>(b) + 1, place(b, i), bytes));
    }
    return absl::OkStatus();
  };
  HETERO_RETURN_IF_ERROR(post(0));
  HETERO_RETURN_IF_ERROR(post(1));
  HETERO_RETURN_IF_ERROR(AwaitEnvelopes());
  for (int64_t b = 0; b < num_blocks(own); ++b) {
    std::vector<Pending>& arriving = receives[static_cast<size_t>(b % 2)];
    for (Pending& receive : arriving) HETERO_RETURN_IF_ERROR(Await(receive));
    arriving.clear();
    const int64_t begin = b * block;
    const int64_t count = std::min(block, own.count - begin);
    std::vector<ConstTensorView> inputs;
    for (size_t i = 0; i < peers_.size(); ++i) {
      if (i == me()) {
        inputs.push_back(Elements(call.input, own.begin + begin, count));
      } else {
        inputs.emplace_back(place(b, i), call.input.dtype(), std::initializer_list<int64_t>{count});
      }
    }
    const TensorView outputs[] = {Elements(output, begin, count)};
    HETERO_RETURN_IF_ERROR(RankReduce(inputs, outputs, call.op, stream));
    HETERO_RETURN_IF_ERROR(post(b + 2));
  }
  return absl::OkStatus();
}

absl::Status ProcessesCommunicator::ReduceScatter(const Collective& call, Stream& stream) {
  const int64_t count = call.output.num_elements();
  std::vector<Chunk> chunks;
  for (int64_t i = 0; i < size(); ++i) chunks.push_back({i * count, count});
  return Reduce(call, chunks, call.output, stream);
}

absl::Status ProcessesCommunicator::AllReduce(const Collective& call, Stream& stream) {
  const int64_t total = call.input.num_elements();
  const int64_t share = CeilDiv(total, size() * kLineElements) * kLineElements;
  std::vector<Chunk> chunks;
  for (int64_t i = 0; i < size(); ++i) {
    const int64_t begin = std::min(total, i * share);
    chunks.push_back({begin, std::min(share, total - begin)});
  }
  const Chunk own = chunks[me()];
  HETERO_RETURN_IF_ERROR(Reduce(call, chunks, Elements(call.output, own.begin, own.count), stream));
  // Where output and input are one, the peers' chunks are written next.
  HETERO_RETURN_IF_ERROR(AwaitSends());
  constexpr uint64_t kGather = uint64_t{1} << 32;
  const int64_t element = SizeOf(call.input.dtype());
  std::vector<Pending> receives;
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (i == me()) continue;
    if (chunks[i].count > 0) {
      HETERO_ASSIGN_OR_RETURN(
          receives.emplace_back(),
          Receive(i, kGather, At(call.output.address(), chunks[i].begin * element),
                  chunks[i].count * element));
    }
    if (own.count > 0) {
      HETERO_ASSIGN_OR_RETURN(
          sends_.emplace_back(),
          Send(i, kGather, At(call.output.address(), own.begin * element), own.count * element));
    }
  }
  for (Pending& receive : receives) HETERO_RETURN_IF_ERROR(Await(receive));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TransferHandle>> ProcessesCommunicator::RunExchange(
    std::span<const SendRequest> sends, std::span<const ReceiveRequest> receives, Stream& stream,
    std::string_view name) {
  if (stream.device().IsCuda()) {
    return absl::InvalidArgumentError("this backend has tensors in host memory only");
  }
  if (!HealthCheck().ok()) return state_.AbortedError(absl::StrCat(ToString(), ": exchange"));
  state_.BeginCall(name, ToString());
  auto handle = std::make_unique<ExchangeHandle>(*this, name, sends.size() + receives.size());
  for (const ReceiveRequest& receive : receives) {
    HETERO_RETURN_IF_ERROR(handle->Post(false, receive.peer, receive.tensor, receive.tensor));
  }
  for (const SendRequest& send : sends) {
    HETERO_RETURN_IF_ERROR(handle->Post(true, send.peer, send.tensor, TensorView()));
  }
  state_.EndCall();
  return handle;
}

}  // namespace hetero::internal
