#ifndef HETERO_CKPT_SHARE_LOADED_H_
#define HETERO_CKPT_SHARE_LOADED_H_

// What one rank has read for others goes to them.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/ckpt/match.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// A piece of this rank, the shard of the plan that it is, and how many of its elements are filled.
struct LoadedPiece {
  std::string_view key;
  const CheckpointTensor::Piece* piece = nullptr;
  const WorldShard* shard = nullptr;
  int64_t filled = 0;
};

// Shards that `match` has and several ranks hold go from their owner to the others, block by block.
// What is received counts as filled. Memory: a block of host memory for each owner that this rank
// receives from, and one to send.
absl::Status ShareLoaded(const WorldPlan& plan, const MatchReport& match,
                         std::vector<LoadedPiece>& pieces, Exchange& exchange, Stream& stream);

}  // namespace hetero

#endif  // HETERO_CKPT_SHARE_LOADED_H_
