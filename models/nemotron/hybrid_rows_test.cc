// Rows of a batch, their padding and their weights.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/nemotron/hybrid_microbatch.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using namespace hybrid_microbatch;  // NOLINT: made for these tests
using ::absl_testing::IsOk;

// The two rows with four and six of their tokens, and padding that makes them as long as `length`.
TestTokens Padded(int64_t length) {
  TestTokens tokens{.num_rows = 2, .row_length = length, .lengths = {4, 6}};
  for (int row = 0; row < 2; ++row) {
    const auto take = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to, int32_t pad) {
      to.insert(to.end(), from.begin() + 7 * row, from.begin() + 7 * row + tokens.lengths[row]);
      to.resize((row + 1) * length, pad);
    };
    take(kTokens.ids, tokens.ids, 3);
    take(kTokens.targets, tokens.targets, kNone);
  }
  return tokens;
}

// Nothing that a model learns or reports knows how long the rows are.
TEST(HybridRowsTest, PaddingChangesNothing) {
  for (const bool force_load_balancing : {false, true}) {
    HybridConfig config = SmallHybridConfig("ME*-E");
    config.experts.force_load_balancing = force_load_balancing;
    HybridHarness<double> close(config), wide(config);
    Microbatch a(Padded(6)), b(Padded(19));
    Train(close, a);
    Train(wide, b);
    EXPECT_THAT(wide.Gradients(), IsCloseTo(close.Gradients(), {.relative_to_max = 1e-13}));
    EXPECT_THAT(b.d_upstream, IsCloseTo(a.d_upstream, {.relative_to_max = 1e-13}));
    const StageStatistics expected = close.Take(), actual = wide.Take();
    EXPECT_NEAR(actual.loss_sum, expected.loss_sum, 1e-12);
    EXPECT_NEAR(actual.balance_loss, expected.balance_loss, 1e-12);
    EXPECT_EQ(actual.balance_tokens, 2 * 10);
    EXPECT_EQ(expected.balance_tokens, 2 * 10);
    for (HybridHarness<double>* m : {&close, &wide}) {
      ASSERT_THAT(m->stages[0]->FinishStep({}, m->context->stream), IsOk());
    }
    const char* const bias = "decoder.layers.1.mlp.router.expert_bias";
    EXPECT_THAT(wide.Get(bias).value.values<double>(),
                testing::ElementsAreArray(close.Get(bias).value.values<double>()));
  }
}

TEST(HybridRowsTest, RowsOfPaddingAloneAddNothing) {
  HybridHarness<double> alone(SmallHybridConfig("ME*-")), filled(SmallHybridConfig("ME*-"));
  TestTokens tokens = kTokens;
  Microbatch a(tokens);
  tokens.num_rows = 4;
  tokens.ids.resize(4 * 7, 3);
  tokens.targets.resize(4 * 7, kNone);
  tokens.lengths = {7, 7, 0, 0};
  Microbatch b(tokens);
  Train(alone, a);
  Train(filled, b);
  EXPECT_THAT(filled.Gradients(), IsCloseTo(alone.Gradients(), {.relative_to_max = 1e-13}));
  EXPECT_NEAR(filled.Take().balance_loss, alone.Take().balance_loss, 1e-12);
}

TEST(HybridRowsTest, SequencesPackedInOneRowDoNotSeeEachOther) {
  HybridConfig config = SmallHybridConfig("ME*-");
  config.experts.aux_loss_coefficient = 0;  // it is a mean over rows
  HybridHarness<double> rows(config), packed(config);
  TestTokens tokens = kTextOnly;
  tokens.num_rows = 2;
  tokens.row_length = 3;
  Microbatch a(tokens), b(tokens);
  Train(rows, a);
  const std::vector<int32_t> sequence_index = {0, 0, 0, 1, 1, 1};
  TokenBatch one_row = *b.batch;
  one_row.sequences.num_rows = 1;
  one_row.sequences.row_length = 6;
  one_row.sequences.sequence_index = ConstTensorView(std::span(sequence_index), {6});
  ASSERT_THAT(packed.Forward(one_row, b.upstream), IsOk());
  ASSERT_THAT(packed.Backward(b.d_upstream), IsOk());
  EXPECT_THAT(packed.Gradients(), IsCloseTo(rows.Gradients(), {.relative_to_max = 1e-13}));
  EXPECT_NEAR(packed.Take().loss_sum, rows.Take().loss_sum, 1e-12);
}

// N is the sum of the weights: half the weight on every token is half of everything.
TEST(HybridRowsTest, LossWeightsCountAsTheirSum) {
  const HybridConfig config = SmallHybridConfig("M*-");
  HybridHarness<double> ones(config), halves(config);
  Microbatch a(kTextOnly), b(kTextOnly);
  std::ranges::fill(b.batch.loss_weights(), 0.5);
  Train(ones, a);
  Train(halves, b);
  std::vector<double> twice = halves.Gradients();
  for (double& value : twice) value *= 2;
  EXPECT_THAT(twice, IsCloseTo(ones.Gradients(), {.relative_to_max = 1e-14}));
  const StageStatistics expected = ones.Take(), actual = halves.Take();
  EXPECT_EQ(expected.loss_weight, 5);
  EXPECT_EQ(actual.loss_weight, 2.5);
  EXPECT_NEAR(actual.loss_sum / actual.loss_weight, expected.loss_sum / expected.loss_weight,
              1e-14);
}

// Rows of a batch do not see each other, and gradients are sums over tokens.
TEST(HybridRowsTest, OneBatchEqualsItsRowsOneByOne) {
  const HybridConfig config = SmallHybridConfig("ME*-");
  HybridHarness<double> together(config), apart(config);
  Microbatch both(kTokens);
  Train(together, both);
  std::vector<double> d_upstream;
  for (int row = 0; row < 2; ++row) {
    const auto half = [&](const std::vector<int32_t>& values) {
      return std::vector<int32_t>(values.begin() + 7 * row, values.begin() + 7 * (row + 1));
    };
    Microbatch one({.num_rows = 1,
                    .row_length = 7,
                    .ids = half(kTokens.ids),
                    .targets = half(kTokens.targets)});
    std::copy_n(both.upstream.begin() + std::ssize(d_upstream), one.upstream.size(),
                one.upstream.begin());
    Train(apart, one);
    d_upstream.insert(d_upstream.end(), one.d_upstream.begin(), one.d_upstream.end());
  }
  const ErrorSpec rounding{.relative_to_max = 1e-13};
  EXPECT_THAT(apart.Gradients(), IsCloseTo(together.Gradients(), rounding));
  EXPECT_THAT(d_upstream, IsCloseTo(both.d_upstream, rounding));
  const StageStatistics expected = together.Take(), actual = apart.Take();
  EXPECT_NEAR(actual.loss_sum, expected.loss_sum, 1e-12);
  EXPECT_NEAR(actual.balance_loss, expected.balance_loss, 1e-12);
  EXPECT_EQ(actual.balance_tokens, expected.balance_tokens);
}

}  // namespace
}  // namespace hetero
