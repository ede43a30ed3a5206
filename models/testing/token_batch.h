#ifndef HETERO_MODELS_TESTING_TOKEN_BATCH_H_
#define HETERO_MODELS_TESTING_TOKEN_BATCH_H_

// A microbatch of a language model that owns what its views point to.

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "hetero/grid/token_shard.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Tokens t = row * row_length + position.
struct TestTokens {
  static constexpr int32_t kPlaceholder = -1;  // an id: a row that arrives over the first edge
  static constexpr int32_t kMasked = -1;       // a target: the token does not count in the loss

  // The id of a row that arrives over this edge.
  static constexpr int32_t Placeholder(int edge) { return kPlaceholder - edge; }

  int64_t num_rows = 0;
  int64_t row_length = 0;
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;
  int num_edges = 1;
  std::vector<int32_t> lengths = {};  // tokens of each row before its padding; empty: no padding

  int64_t num_tokens() const { return num_rows * row_length; }
  int64_t num_placeholders() const { return std::ranges::count(ids, kPlaceholder); }
};

// T is the compute type of the model. The batch's views die with this object.
template <typename T>
class TestTokenBatch {
 public:
  // Loss weights are 1. Of `size` tensor-parallel ranks, the batch of `rank`.
  explicit TestTokenBatch(const TestTokens& tokens, int64_t rank = 0, int64_t size = 1)
      : placeholders_(tokens.num_edges) {
    const TokenShard shard{.num_tokens = tokens.num_tokens(), .size = size, .rank = rank};
    for (int64_t row = 0; row <= tokens.num_rows; ++row) {
      cu_seqlens_.push_back(static_cast<int32_t>(row * tokens.row_length));
    }
    for (int32_t t = 0; t < tokens.num_tokens(); ++t) {
      if (tokens.ids[t] < 0) {
        const int64_t own_row = t - shard.begin();
        if (own_row >= 0 && own_row < shard.num_owned()) {
          placeholders_.at(TestTokens::kPlaceholder - tokens.ids[t])
              .push_back(static_cast<int32_t>(own_row));
        }
      } else {
        text_tokens_.push_back(tokens.ids[t]);
        text_positions_.push_back(t);
      }
      if (tokens.targets[t] == TestTokens::kMasked) continue;
      loss_positions_.push_back(t);
      loss_targets_.push_back(tokens.targets[t]);
    }
    if (!tokens.lengths.empty()) {
      token_offsets_.assign(1, 0);
      for (const int32_t length : tokens.lengths) {
        token_offsets_.push_back(token_offsets_.back() + length);
      }
    }
    loss_weights_.assign(loss_positions_.size(), T(1));
    for (std::vector<int32_t>& positions : placeholders_) edges_.push_back(View(positions));
    batch_ = {.sequences = {.num_rows = tokens.num_rows,
                            .row_length = tokens.row_length,
                            .cu_seqlens = cu_seqlens_,
                            .sequence_index = {},
                            .token_offsets = token_offsets_,
                            .device_token_offsets =
                                token_offsets_.empty() ? ConstTensorView() : View(token_offsets_)},
              .text_tokens = View(text_tokens_),
              .text_positions = View(text_positions_),
              .modality_positions = edges_,
              .loss_positions = View(loss_positions_),
              .loss_targets = View(loss_targets_),
              .loss_weights = View(loss_weights_)};
  }
  TestTokenBatch(const TestTokenBatch&) = delete;
  TestTokenBatch& operator=(const TestTokenBatch&) = delete;

  const TokenBatch& operator*() const { return batch_; }

  // Of the tokens that count.
  std::span<T> loss_weights() { return loss_weights_; }

 private:
  // Reserves, so that a list without elements has an address too.
  template <typename Element>
  static ConstTensorView View(std::vector<Element>& values) {
    values.reserve(1);
    return ConstTensorView(values.data(), kDTypeOf<Element>, {std::ssize(values)});
  }

  std::vector<int32_t> cu_seqlens_, token_offsets_, text_tokens_, text_positions_, loss_positions_,
      loss_targets_;
  std::vector<std::vector<int32_t>> placeholders_;  // of each edge
  std::vector<T> loss_weights_;
  std::vector<ConstTensorView> edges_;
  TokenBatch batch_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_TOKEN_BATCH_H_
