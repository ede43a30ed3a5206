#include "hetero/models/blocks/attention/attention.h"

#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/residual_block_rig.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kTokens = 9;
constexpr int64_t kHidden = 6;
const AttentionConfig kConfig = {.hidden_size = kHidden,
                                 .num_heads = 4,
                                 .num_kv_groups = 2,
                                 .head_dim = 3,
                                 .storage = DType::kF64};

AttentionConfig ConfigWith(bool use_bias) {
  AttentionConfig config = kConfig;
  config.use_bias = use_bias;
  return config;
}

// With biases and without.
class AttentionBlockTest : public testing::TestWithParam<bool> {
 protected:
  AttentionBlockTest() {
    uint64_t seed = 1;
    for (const auto& parameter : store_->parameters()) {
      FillRandom(parameter->value, ++seed, 0.5, 0.2);
    }
    FillRandom(View(hidden_), 77, 1);
    FillRandom(View(probe_), 78, 1);
  }

  static TensorView View(std::vector<double>& values) {
    return TensorView(std::span<double>(values), {kTokens, kHidden});
  }

  std::span<const double> Forward() {
    context_.Reset();
    return block_
        .Forward(*context_, View(hidden_),
                 {.num_rows = 1,
                  .row_length = kTokens,
                  .cu_seqlens = cu_seqlens_,
                  .sequence_index = ConstTensorView(std::span(sequence_index_), {kTokens})},
                 saved_)
        .value()
        .values<double>();
  }

  double Loss() {
    const std::span<const double> out = Forward();
    double loss = 0;
    for (size_t i = 0; i < out.size(); ++i) loss += probe_[i] * out[i];
    return loss;
  }

  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> store_ =
      ParameterStore::Create(
          ParameterTable::Make(AttentionBlock::Parameters(ConfigWith(GetParam()), "l.")).value(),
          {}, {}, memory_)
          .value();
  AttentionBlock block_ =
      AttentionBlock::Create(ConfigWith(GetParam()), "l.", *store_, nullptr).value();
  AttentionBlock::Saved saved_;
  TestContext context_;
  std::vector<int32_t> cu_seqlens_ = {0, 1, 4, 4, 9};  // lengths 1, 3, 0, 5
  std::vector<int32_t> sequence_index_ = {0, 1, 1, 1, 3, 3, 3, 3, 3};
  std::vector<double> hidden_ = std::vector<double>(kTokens * kHidden);
  std::vector<double> probe_ = std::vector<double>(kTokens * kHidden);
};

INSTANTIATE_TEST_SUITE_P(Biases, AttentionBlockTest, testing::Bool());

TEST_P(AttentionBlockTest, ForwardIsTheFormula) {
  const auto value = [&](const char* name) {
    return store_->Find(name).value()->value.values<double>();
  };
  const auto bias = [&](const char* name, int row) { return GetParam() ? value(name)[row] : 0.0; };
  const auto g = value("l.self_attention.linear_qkv.layer_norm_weight");
  const auto w_qkv = value("l.self_attention.linear_qkv.weight");
  const auto w_out = value("l.self_attention.linear_proj.weight");
  const auto projected = [&](int64_t t, int row) {
    const double* x = &hidden_[t * kHidden];
    double squares = 0;
    double sum = 0;
    for (int i = 0; i < kHidden; ++i) {
      squares += x[i] * x[i];
      sum += w_qkv[row * kHidden + i] * x[i] * g[i];
    }
    return sum / std::sqrt(squares / kHidden + 1e-5) +
           bias("l.self_attention.linear_qkv.bias", row);
  };
  const std::span<const double> out = Forward();
  for (size_t s = 0; s + 1 < cu_seqlens_.size(); ++s) {
    for (int64_t t = cu_seqlens_[s]; t < cu_seqlens_[s + 1]; ++t) {
      std::vector<double> mixed(12, 0.0);
      for (int head = 0; head < 4; ++head) {
        // A group's rows: two heads of queries, one key, one value, three rows each.
        const int group = head / 2 * 12;
        std::vector<double> weights;
        double total = 0;
        for (int64_t k = cu_seqlens_[s]; k <= t; ++k) {
          double score = 0;
          for (int d = 0; d < 3; ++d) {
            score += projected(t, group + head % 2 * 3 + d) * projected(k, group + 6 + d);
          }
          weights.push_back(std::exp(score / std::sqrt(3.0)));
          total += weights.back();
        }
        for (size_t k = 0; k < weights.size(); ++k) {
          for (int d = 0; d < 3; ++d) {
            mixed[head * 3 + d] +=
                weights[k] / total *
                projected(cu_seqlens_[s] + static_cast<int64_t>(k), group + 9 + d);
          }
        }
      }
      for (int i = 0; i < kHidden; ++i) {
        double expected = hidden_[t * kHidden + i] + bias("l.self_attention.linear_proj.bias", i);
        for (int j = 0; j < 12; ++j) expected += w_out[i * 12 + j] * mixed[j];
        EXPECT_NEAR(out[t * kHidden + i], expected, 1e-12) << t << " " << i;
      }
    }
  }
}

TEST_P(AttentionBlockTest, GradientsMatchDifferences) {
  Loss();
  std::vector<double> d_hidden = probe_;
  ASSERT_EQ(block_.Backward(*context_, saved_, View(d_hidden)), absl::OkStatus());
  std::vector<CheckedTensor> tensors = CheckedParameters(*store_);
  tensors.push_back({"hidden", View(hidden_), View(d_hidden)});
  CheckGradients([&] { return Loss(); }, tensors);
}

TEST_P(AttentionBlockTest, HeadsMustFillTheirGroups) {
  AttentionConfig config = kConfig;
  config.num_kv_groups = 3;
  EXPECT_THAT(AttentionBlock::Create(config, "l.", *store_, nullptr).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 heads in 3 groups")));
}

absl::Status RunAttention(ParallelRig& rig, const AttentionConfig& config,
                          const SequenceBatch& batch) {
  ParameterStore& parameters =
      rig.MakeParameters(ParameterTable::Make(AttentionBlock::Parameters(config, "l.")).value());
  HETERO_ASSIGN_OR_RETURN(
      const AttentionBlock block,
      AttentionBlock::Create(config, "l.", parameters, rig.communicators().Of(Family::kTp)));
  return RunResidualBlock(rig, parameters, block, config.hidden_size, batch);
}

// Two ranks have a group each, four have half a group each.
TEST(AttentionBlockRanksTest, EqualOneRank) {
  for (const bool use_bias : {false, true}) {
    AttentionConfig config = ConfigWith(use_bias);
    config.num_heads = 8;
    for (const int64_t tp : {2, 4}) {
      ExpectBlockLikeOneRank(tp, [&](ParallelRig& rig, const SequenceBatch& batch) {
        return RunAttention(rig, config, batch);
      });
    }
  }
}

TEST(AttentionBlockRanksTest, HeadsOfAGroupMustDivideAmongItsRanks) {
  const AttentionConfig config = {.hidden_size = kHidden,
                                  .num_heads = 6,
                                  .num_kv_groups = 2,
                                  .head_dim = 2,
                                  .storage = DType::kF64};
  EXPECT_THAT(MakingBlock<AttentionBlock>(config, /*tensor_parallel=*/4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("l.self_attention has 6 heads in 2 groups for 4"),
                             HasSubstr("nearest: 2"))));
}

}  // namespace
}  // namespace hetero
