// Collectives of many members, along a tree.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/comm/processes/member_tree.h"
#include "hetero/comm/processes/processes_communicator.h"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"

namespace hetero::internal {
namespace {

// Messages of a call.
constexpr uint64_t kUp = uint64_t{1} << 40;
constexpr uint64_t kDown = kUp + 1;

// What a member gives: its head, and its small tensor where it has one.
int64_t BytesOf(const EnvelopeHead& head) {
  const int64_t tensor = head.has_tensor != 0 ? head.num_elements * SizeOf(head.dtype) : 0;
  return static_cast<int64_t>(offsetof(Envelope, tensor)) +
         RoundUp(tensor, int64_t{alignof(Envelope)});
}

// What comes down: at least the word that all call the same.
int64_t ResultBytes(const Collective& call, bool small, int64_t num_members) {
  if (!small) return 1;
  const int64_t bytes = call.input.num_bytes();
  return std::max<int64_t>(1,
                           call.kind == CollectiveKind::kAllGather ? num_members * bytes : bytes);
}

void CopyBytes(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

std::vector<size_t> ProcessesCommunicator::TreeNeighbours() const {
  std::vector<size_t> neighbours = ChildrenInTree(me(), members().size());
  if (me() != 0) neighbours.push_back(TreeParent(me()));
  return neighbours;
}

absl::Status ProcessesCommunicator::RunInTree(const Collective& call, bool small, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ConnectTo(TreeNeighbours()));
  const std::vector<size_t> children = ChildrenInTree(me(), members().size());
  const std::vector<size_t> below = TreeOrder(me(), members().size());
  EnvelopeHead own = HeadOf(call);
  own.has_tensor =
      small && (call.kind != CollectiveKind::kBroadcast || call.root == rank()) ? 1 : 0;

  // Each child's envelopes have room for the largest there are; they are moved together then.
  envelopes_.resize(below.size() * sizeof(Envelope) / sizeof(Line));
  auto* const envelopes = reinterpret_cast<std::byte*>(envelopes_.data());
  CopyBytes(envelopes, &own, sizeof(own));
  if (own.has_tensor != 0) {
    CopyBytes(envelopes + offsetof(Envelope, tensor), call.input.address(), call.input.num_bytes());
  }
  int64_t filled = BytesOf(own);
  std::vector<Pending> receives;
  std::vector<std::pair<std::byte*, size_t>> arrived;  // where, and how many envelopes
  std::byte* room = envelopes + sizeof(Envelope);
  for (const size_t child : children) {
    const size_t count = TreeOrder(child, members().size()).size();
    HETERO_ASSIGN_OR_RETURN(
        receives.emplace_back(),
        Receive(child, kUp, room, static_cast<int64_t>(count * sizeof(Envelope)),
                /*slot_bytes=*/0));
    arrived.emplace_back(room, count);
    room += count * sizeof(Envelope);
  }
  for (size_t i = 0; i < receives.size(); ++i) {
    HETERO_RETURN_IF_ERROR(Await(receives[i]));
    auto [from, count] = arrived[i];
    int64_t bytes = 0;
    for (size_t k = 0; k < count; ++k) {
      bytes += BytesOf(*reinterpret_cast<const EnvelopeHead*>(from + bytes));
    }
    std::memmove(envelopes + filled, from, static_cast<size_t>(bytes));
    filled += bytes;
  }

  const int64_t result_bytes = ResultBytes(call, small, size());
  result_.resize(static_cast<size_t>(CeilDiv(result_bytes, int64_t{sizeof(Line)})));
  auto* const result = reinterpret_cast<std::byte*>(result_.data());
  if (me() == 0) {
    HETERO_RETURN_IF_ERROR(FinishTree(call, own, small, {envelopes, static_cast<size_t>(filled)},
                                      {result, static_cast<size_t>(result_bytes)}, stream));
  } else {
    HETERO_ASSIGN_OR_RETURN(Pending from_parent,
                            Receive(TreeParent(me()), kDown, result, result_bytes, result_bytes));
    HETERO_ASSIGN_OR_RETURN(Pending up, Send(TreeParent(me()), kUp, envelopes, filled,
                                             /*slot_bytes=*/0));
    HETERO_RETURN_IF_ERROR(Await(from_parent));
    HETERO_RETURN_IF_ERROR(Await(up));
  }
  for (const size_t child : children) {
    HETERO_ASSIGN_OR_RETURN(sends_.emplace_back(),
                            Send(child, kDown, result, result_bytes, result_bytes));
  }
  if (small) {
    const int64_t bytes = call.output.num_bytes();
    const int64_t begin =
        call.kind == CollectiveKind::kReduceScatter ? rank().value() * bytes : int64_t{0};
    CopyBytes(call.output.address(), result + begin, bytes);
  }
  return AwaitSends();
}

absl::Status ProcessesCommunicator::FinishTree(const Collective& call, const EnvelopeHead& own,
                                               bool small, std::span<const std::byte> envelopes,
                                               std::span<std::byte> result, Stream& stream) {
  std::vector<const std::byte*> tensors(members().size());
  const std::byte* next = envelopes.data();
  for (const size_t member : TreeOrder(0, members().size())) {
    const auto& head = *reinterpret_cast<const EnvelopeHead*>(next);
    HETERO_RETURN_IF_ERROR(CompareCalls(own, members()[member], head));
    tensors[member] = next + offsetof(Envelope, tensor);
    next += BytesOf(head);
  }
  if (!small) return absl::OkStatus();
  const int64_t bytes = call.input.num_bytes();
  switch (call.kind) {
    case CollectiveKind::kBroadcast:
      CopyBytes(result.data(), tensors[static_cast<size_t>(call.root.value())], bytes);
      return absl::OkStatus();
    case CollectiveKind::kAllGather:
      for (size_t i = 0; i < tensors.size(); ++i) {
        CopyBytes(result.data() + static_cast<int64_t>(i) * bytes, tensors[i], bytes);
      }
      return absl::OkStatus();
    default: {
      const int64_t count = call.input.num_elements();
      std::vector<ConstTensorView> inputs;
      for (const std::byte* const tensor : tensors) {
        inputs.emplace_back(tensor, call.input.dtype(), std::initializer_list<int64_t>{count});
      }
      const TensorView outputs[] = {TensorView(result.data(), call.input.dtype(), {count})};
      return RankReduce(inputs, outputs, call.op, stream);
    }
  }
}

}  // namespace hetero::internal
