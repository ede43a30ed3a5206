#include "hetero/models/blocks/mlp/mlp.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/residual_block_rig.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

constexpr int64_t kTokens = 5;

// With biases and without.
class MlpBlockTest : public testing::TestWithParam<bool> {
 protected:
  MlpBlockTest() {
    uint64_t seed = 1;
    for (const auto& parameter : store_->parameters())
      FillRandom(parameter->value, ++seed, 0.5, 0.2);
    FillRandom(TensorView(std::span<double>(hidden_), {kTokens, 6}), 77, 1);
    FillRandom(TensorView(std::span<double>(probe_), {kTokens, 6}), 78, 1);
  }

  // <probe, hidden'>
  double Loss() {
    context_.Reset();
    const TensorView out =
        block_
            .Forward(*context_, ConstTensorView(std::span<const double>(hidden_), {kTokens, 6}),
                     {.num_rows = 1, .row_length = kTokens}, saved_)
            .value();
    double loss = 0;
    for (int64_t i = 0; i < kTokens * 6; ++i) loss += probe_[i] * out.values<double>()[i];
    return loss;
  }

  const MlpConfig config_ = {
      .hidden_size = 6, .ffn_size = 9, .use_bias = GetParam(), .storage = DType::kF64};
  MemoryLedger memory_;
  std::unique_ptr<ParameterStore> store_ =
      ParameterStore::Create(ParameterTable::Make(MlpBlock::Parameters(config_, "l.")).value(), {},
                             {}, memory_)
          .value();
  MlpBlock block_ = MlpBlock::Create(config_, "l.", *store_, nullptr).value();
  MlpBlock::Saved saved_;
  TestContext context_;
  std::vector<double> hidden_ = std::vector<double>(kTokens * 6);
  std::vector<double> probe_ = std::vector<double>(kTokens * 6);
};

INSTANTIATE_TEST_SUITE_P(Biases, MlpBlockTest, testing::Bool());

TEST_P(MlpBlockTest, ForwardIsTheFormula) {
  const auto value = [&](const char* name) {
    return store_->Find(name).value()->value.values<double>();
  };
  const auto bias = [&](const char* name, int row) { return GetParam() ? value(name)[row] : 0.0; };
  const auto g = value("l.mlp.linear_fc1.layer_norm_weight");
  const auto w1 = value("l.mlp.linear_fc1.weight");
  const auto w2 = value("l.mlp.linear_fc2.weight");
  double expected = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    const double* x = &hidden_[t * 6];
    double squares = 0;
    for (int i = 0; i < 6; ++i) squares += x[i] * x[i];
    const double r = 1 / std::sqrt(squares / 6 + 1e-5);
    std::vector<double> out(x, x + 6);
    for (int i = 0; i < 6; ++i) out[i] += bias("l.mlp.linear_fc2.bias", i);
    for (int f = 0; f < 9; ++f) {
      double inner = bias("l.mlp.linear_fc1.bias", f);
      for (int i = 0; i < 6; ++i) inner += w1[f * 6 + i] * x[i] * r * g[i];
      const double activated = std::pow(std::max(inner, 0.0), 2);
      for (int i = 0; i < 6; ++i) out[i] += w2[i * 9 + f] * activated;
    }
    for (int i = 0; i < 6; ++i) expected += probe_[t * 6 + i] * out[i];
  }
  EXPECT_NEAR(Loss(), expected, 1e-12 * std::abs(expected));
}

TEST_P(MlpBlockTest, GradientsMatchDifferences) {
  Loss();
  std::vector<double> d_hidden = probe_;
  const TensorView d_hidden_TH(std::span<double>(d_hidden), {kTokens, 6});
  ASSERT_EQ(block_.Backward(*context_, saved_, d_hidden_TH), absl::OkStatus());
  std::vector<CheckedTensor> tensors = CheckedParameters(*store_);
  tensors.push_back({"hidden", TensorView(std::span<double>(hidden_), {kTokens, 6}), d_hidden_TH});
  CheckGradients([&] { return Loss(); }, tensors);
}

TEST(MlpBlockRanksTest, EqualOneRank) {
  for (const auto& [tp, use_bias] : {std::pair(2, false), {4, false}, {2, true}, {4, true}}) {
    const MlpConfig config = {
        .hidden_size = 6, .ffn_size = 12, .use_bias = use_bias, .storage = DType::kF64};
    ExpectBlockLikeOneRank(tp, [&](ParallelRig& rig, const SequenceBatch& batch) -> absl::Status {
      ParameterStore& parameters =
          rig.MakeParameters(ParameterTable::Make(MlpBlock::Parameters(config, "l.")).value());
      HETERO_ASSIGN_OR_RETURN(
          const MlpBlock block,
          MlpBlock::Create(config, "l.", parameters, rig.communicators().Of(Family::kTp)));
      return RunResidualBlock(rig, parameters, block, config.hidden_size, batch);
    });
  }
}

}  // namespace
}  // namespace hetero
