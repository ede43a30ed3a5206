// What a block of experts counts, keeps and refuses.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/blocks/moe/moe_harness.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

TEST(MoeCountsTest, OnlyTrainingForwardsCount) {
  MoeHarness<float> m(SmallMoeConfig(DType::kF32), 4, 5);
  const std::vector<float> trained = m.Forward();
  EXPECT_EQ(std::accumulate(m.counts.begin(), m.counts.end(), 0), 4 * 5 * 2);
  EXPECT_GT(m.balance_loss[0], 0);
  const std::vector<float> d_hidden = m.Backward();
  const std::vector<int64_t> counts = m.counts;
  const float balance_loss = m.balance_loss[0];

  EXPECT_EQ(m.Forward(Mode::kRecompute), trained);
  EXPECT_EQ(m.Backward(), d_hidden);
  const int64_t before = m.context->activations.used_bytes();
  EXPECT_EQ(m.Forward(Mode::kEval), trained);
  EXPECT_LE(m.context->activations.used_bytes() - before, 4 * 5 * 6 * 4 + Buffer::kAlignment);
  EXPECT_EQ(m.counts, counts);
  EXPECT_EQ(m.balance_loss[0], balance_loss);

  m.Forward();
  for (size_t e = 0; e < counts.size(); ++e) EXPECT_EQ(m.counts[e], 2 * counts[e]);
  const int64_t mean = 4 * 5 * 2 * 2 / 5;
  const std::vector<int64_t> before_update = m.counts;
  ASSERT_THAT(m.block.UpdateExpertBias({}, m.context->stream), IsOk());
  for (size_t e = 0; e < counts.size(); ++e) {
    const int sign = (mean > before_update[e]) - (mean < before_update[e]);
    EXPECT_EQ(m.Weight("mlp.router.expert_bias")[e], sign * 1e-3f);
  }
  EXPECT_THAT(m.counts, Each(0));
}

TEST(MoeCountsTest, TheBiasStaysWhereAStepIsSkippedUnlessAsked) {
  for (const bool moves : {false, true}) {
    MoeConfig config = SmallMoeConfig(DType::kF64);
    config.update_bias_on_skip = moves;
    MoeHarness<double> m(config, 2, 3);
    m.Forward();
    const std::vector<double> skipped(kNumUpdateDecisions);
    const ConstTensorView decisions(skipped.data(), DType::kF64, {kNumUpdateDecisions});
    ASSERT_THAT(m.block.UpdateExpertBias(decisions, m.context->stream), IsOk());
    const std::vector<double> bias = m.Weight("mlp.router.expert_bias");
    EXPECT_EQ(std::ranges::any_of(bias, [](double value) { return value != 0; }), moves);
    EXPECT_THAT(m.counts, Each(0));
  }
}

// Rows of three and of no tokens: no expert sees the other seven places.
TEST(MoeCountsTest, PaddingHasNoExpertRows) {
  MoeHarness<double> m(SmallMoeConfig(DType::kF64), 2, 5);
  const std::vector<int32_t> offsets = {0, 3, 3};
  m.batch.token_offsets = offsets;
  m.batch.device_token_offsets = ConstTensorView(offsets.data(), DType::kI32, {3});
  m.Forward();
  EXPECT_EQ(m.saved.experts.count(), 3 * 2);
  EXPECT_EQ(std::accumulate(m.counts.begin(), m.counts.end(), 0), 3 * 2);
  std::vector<double> d_hidden = m.Backward();
  CheckGradients([&] { return m.Loss(); }, {{"hidden", m.View(m.hidden), m.View(d_hidden)}});
}

TEST(MoeCountsTest, TheShapeOnlyDevicePredictsTheBytes) {
  const MoeConfig config = SmallMoeConfig(DType::kF32);
  MoeHarness<float> real(config, 3, 8);
  real.Forward();
  real.Backward();

  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Arena inputs = Arena::Counting(MemoryLabel::kData);
  MemoryLedger memory;
  Stream stream({DeviceKind::kShapeOnly}, workspace);
  const auto store =
      ParameterStore::Create(real.store->table(), {}, {DeviceKind::kShapeOnly}, memory).value();
  const MoeBlock block =
      MoeBlock::Create(config, "", *store,
                       {.tokens_per_expert_E = inputs.Allocate(DType::kI64, {5}).value(),
                        .balance_loss_1 = inputs.Allocate(DType::kF32, {1}).value()},
                       nullptr, nullptr, {DeviceKind::kShapeOnly}, memory)
          .value();
  MoeBlock::Saved saved;
  ModuleContext context{.stream = stream, .activations = activations};
  const TensorView hidden = inputs.Allocate(DType::kF32, {24, 6}).value();
  ASSERT_THAT(block.Forward(context, hidden, real.batch, saved), IsOk());
  ASSERT_THAT(block.Backward(context, saved, hidden), IsOk());
  EXPECT_EQ(activations.peak_bytes(), real.context->activations.peak_bytes());
  EXPECT_EQ(workspace.peak_bytes(), real.context->stream.workspace().peak_bytes());
  EXPECT_EQ(stream.ledger().total_flops(), real.context->stream.ledger().total_flops());
}

TEST(MoeCountsTest, ProductionParameterCount) {
  const MoeConfig config{.hidden_size = 2688,
                         .num_experts = 128,
                         .top_k = 6,
                         .ffn_size = 1856,
                         .shared_ffn_size = 3712};
  EXPECT_EQ(ParameterTable::Make(MoeBlock::Parameters(config, "")).value().num_parameters(),
            1277165568 + 19955712 + 344064 + 2688);
}

TEST(MoeCountsTest, RefusesMoreChoicesThanExperts) {
  MoeConfig config = SmallMoeConfig(DType::kF32);
  const MoeHarness<float> harness(config, 1, 1);
  config.top_k = 6;
  MemoryLedger memory;
  EXPECT_THAT(MoeBlock::Create(config, "", *harness.store, {}, nullptr, nullptr, {}, memory),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top_k is 6")));
}

}  // namespace
}  // namespace hetero
