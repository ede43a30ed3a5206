#include "hetero/ckpt/share_loaded.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <utility>

#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/runs.h"

namespace hetero {
namespace {

constexpr int64_t kMessageBytes = 4 << 20;

// Some elements of a shard that other ranks hold too.
struct Message {
  const WorldShard* shard = nullptr;
  IndexRange elements;  // of the shard's box
  int64_t bytes = 0;
};

// By owner, in the order of the plan: the same on all ranks.
std::map<int64_t, std::vector<Message>> MessagesOf(const WorldPlan& plan,
                                                   const MatchReport& match) {
  std::map<int64_t, std::vector<Message>> messages;
  for (const auto& [key, tensor] : plan.tensors) {
    if (!match.tensors.contains(key)) continue;
    const int64_t element = SizeOf(tensor.dtype);
    for (const WorldShard& shard : tensor.shards) {
      if (shard.holders.size() < 2) continue;
      const int64_t all = NumElements(shard.box), most = kMessageBytes / element;
      for (int64_t begin = 0; begin < all; begin += most) {
        const int64_t count = std::min(most, all - begin);
        messages[shard.owner].push_back({&shard, {begin, count}, count * element});
      }
    }
  }
  return messages;
}

class Sharing {
 public:
  Sharing(std::vector<LoadedPiece>& pieces, Exchange& exchange, Stream& stream)
      : exchange_(exchange), stream_(stream) {
    // Of a box that comes twice on this rank, both are filled.
    for (LoadedPiece& piece : pieces) pieces_[piece.shard].push_back(&piece);
  }

  // One message of each owner at most.
  absl::Status Round(const std::vector<Message>& messages) {
    std::vector<Exchange::Send> sends;
    std::vector<Exchange::Receive> receives;
    std::vector<const Message*> received;
    for (const Message& message : messages) {
      const auto own = pieces_.find(message.shard);
      if (own == pieces_.end()) continue;
      const int64_t owner = message.shard->owner;
      if (owner == exchange_.rank()) {
        HETERO_RETURN_IF_ERROR(Pack(message, *own->second[0]));
        for (const int64_t holder : message.shard->holders) {
          if (holder != owner) sends.push_back({holder, Memory(owner, message.bytes)});
        }
      } else {
        receives.push_back({owner, Memory(owner, message.bytes)});
        received.push_back(&message);
      }
    }
    if (sends.empty() && receives.empty()) return absl::OkStatus();
    HETERO_RETURN_IF_ERROR(exchange_.Transfer(sends, receives, "checkpoint.share"));
    for (const Message* message : received) {
      for (LoadedPiece* piece : pieces_.at(message->shard)) {
        HETERO_RETURN_IF_ERROR(Unpack(*message, *piece));
      }
    }
    return stream_.Synchronize();
  }

 private:
  std::span<std::byte> Memory(int64_t owner, int64_t bytes) {
    std::vector<std::byte>& memory = memory_[owner];
    memory.resize(std::max<size_t>(memory.size(), bytes));
    return std::span(memory).first(bytes);
  }

  static std::vector<RunRows> Runs(const LoadedPiece& piece) {
    const Box& box = piece.piece->box;
    return RunsOf(box, box, box, piece.piece->local);
  }

  absl::Status Pack(const Message& message, const LoadedPiece& piece) {
    int64_t copied = 0;
    HETERO_RETURN_IF_ERROR(CopyToDense(piece.piece->local, Runs(piece), message.elements,
                                       Memory(message.shard->owner, message.bytes).data(), stream_,
                                       copied));
    return stream_.Synchronize();
  }

  absl::Status Unpack(const Message& message, LoadedPiece& piece) {
    return CopyFromDense(Memory(message.shard->owner, message.bytes).data(), message.elements,
                         Runs(piece), piece.piece->local, stream_, piece.filled);
  }

  Exchange& exchange_;
  Stream& stream_;
  std::map<const WorldShard*, std::vector<LoadedPiece*>> pieces_;
  std::map<int64_t, std::vector<std::byte>> memory_;  // by owner
};

}  // namespace

absl::Status ShareLoaded(const WorldPlan& plan, const MatchReport& match,
                         std::vector<LoadedPiece>& pieces, Exchange& exchange, Stream& stream) {
  const std::map<int64_t, std::vector<Message>> messages = MessagesOf(plan, match);
  Sharing sharing(pieces, exchange, stream);
  size_t num_rounds = 0;
  for (const auto& [owner, list] : messages) num_rounds = std::max(num_rounds, list.size());
  for (size_t round = 0; round < num_rounds; ++round) {
    std::vector<Message> of_round;
    for (const auto& [owner, list] : messages) {
      if (round < list.size()) of_round.push_back(list[round]);
    }
    HETERO_RETURN_IF_ERROR(sharing.Round(of_round));
  }
  return absl::OkStatus();
}

}  // namespace hetero
