#ifndef HETERO_MODELS_TESTING_PARALLEL_MICROBATCH_H_
#define HETERO_MODELS_TESTING_PARALLEL_MICROBATCH_H_

// A random microbatch of a language model as a rank of a grid has it: rows arrive over two edges,
// at this rank those of its own tokens.

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/grid/token_shard.h"
#include "hetero/models/stage.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A third of the tokens are placeholders, a quarter do not count in the loss.
inline TestTokens RandomTokens(int64_t num_rows, int64_t row_length, int64_t vocabulary_size,
                               std::mt19937_64 generator) {
  TestTokens tokens{.num_rows = num_rows, .row_length = row_length, .num_edges = 2};
  const auto below = [&](int64_t limit) {
    return static_cast<int32_t>(generator() % static_cast<uint64_t>(limit));
  };
  for (int64_t t = 0; t < tokens.num_tokens(); ++t) {
    const int32_t kind = below(6);
    tokens.ids.push_back(kind < 2 ? TestTokens::Placeholder(kind) : below(vocabulary_size));
    tokens.targets.push_back(below(4) == 0 ? TestTokens::kMasked : below(vocabulary_size));
  }
  return tokens;
}

class ParallelMicrobatch {
 public:
  // Views live as long as this and the rig.
  ParallelMicrobatch(ParallelRig& rig, int64_t lane, const TestTokens& tokens, int64_t width)
      : lane_(lane), batch_(tokens, rig.shard().tp.rank, rig.shard().tp.size) {
    std::mt19937_64 generator = rig.Generator("loss weights", lane);
    std::uniform_real_distribution<double> weight(0.5, 1.5);
    for (double& value : batch_.loss_weights()) value = weight(generator);
    const TokenShard shard = rig.Shard(tokens.num_tokens());
    for (int edge = 0; edge < tokens.num_edges; ++edge) {
      const auto count = [&](int64_t begin, int64_t end) {
        return std::count(tokens.ids.begin() + begin, tokens.ids.begin() + end,
                          TestTokens::Placeholder(edge));
      };
      const int64_t first = count(0, shard.begin());
      const int64_t owned = count(shard.begin(), shard.begin() + shard.num_owned());
      const int64_t total = count(0, tokens.num_tokens());
      const TensorView rows = rig.Normal(absl::StrCat("rows of edge ", edge), lane, total, width);
      edges_.push_back(rows.Rows(first, owned));
      all_d_rows_.push_back(rig.Zeros(DType::kF64, total * width).Reshape({total, width}));
      d_edges_.push_back(all_d_rows_.back().Rows(first, owned));
    }
  }

  const TokenBatch& batch() const { return *batch_; }
  std::span<const ConstTensorView> edges() const { return edges_; }
  std::span<const TensorView> d_edges() const { return d_edges_; }

  // Keeps what a backward wrote to d_edges().
  void KeepEdgeGradients(ParallelRig& rig) const {
    for (size_t edge = 0; edge < all_d_rows_.size(); ++edge) {
      rig.KeepPart(absl::StrCat("d rows of edge ", edge, " of lane ", lane_), all_d_rows_[edge]);
    }
  }

 private:
  int64_t lane_;
  TestTokenBatch<double> batch_;
  std::vector<ConstTensorView> edges_;
  std::vector<TensorView> all_d_rows_, d_edges_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_PARALLEL_MICROBATCH_H_
