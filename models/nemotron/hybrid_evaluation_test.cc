// What a language model does in evaluation.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/nemotron/hybrid_microbatch.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using namespace hybrid_microbatch;  // NOLINT: made for these tests
using ::absl_testing::IsOk;

// A vocabulary of 40 has 40 logits.
TEST(HybridEvaluationTest, TheLossesOfAllIdsAreOneDistribution) {
  HybridHarness<double> m(SmallHybridConfig("M-"));
  m.context->mode = Mode::kEval;
  double sum = 0;
  for (int32_t target = 0; target < 40; ++target) {
    TestTokens one = kTextOnly;
    one.targets = {kNone, kNone, target, kNone, kNone, kNone};
    Microbatch b(one);
    m.context.Reset();
    ASSERT_THAT(m.Forward(*b.batch, b.upstream), IsOk());
    sum += std::exp(-m.Take().loss_sum);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
}

TEST(HybridEvaluationTest, EvaluationCountsRowsThatAreRightEverywhere) {
  HybridHarness<double> m(SmallHybridConfig("ME*"));
  m.context->mode = Mode::kEval;
  Microbatch b(kTokens);
  // The prediction of a token is the only target that matches, and the one of least loss.
  TestTokens predicted = kTokens;
  for (int64_t t = 0; t < kTokens.num_tokens(); ++t) {
    if (kTokens.targets[t] == kNone) continue;
    std::vector<double> losses;
    for (int32_t target = 0; target < 40; ++target) {
      TestTokens one = kTokens;
      one.targets.assign(one.num_tokens(), kNone);
      one.targets[t] = target;
      m.context.Reset();
      ASSERT_THAT(m.Forward(*TestTokenBatch<double>(one), b.upstream), IsOk());
      const StageStatistics statistics = m.Take();
      EXPECT_EQ(statistics.sequences, 1);
      if (statistics.exact_matches == 1) predicted.targets[t] = target;
      losses.push_back(statistics.loss_sum);
    }
    EXPECT_EQ(predicted.targets[t], std::ranges::min_element(losses) - losses.begin()) << t;
  }
  const auto evaluate = [&] {
    m.context.Reset();
    EXPECT_THAT(m.Forward(*TestTokenBatch<double>(predicted), b.upstream), IsOk());
    const StageStatistics statistics = m.Take();
    return std::pair(statistics.sequences, statistics.exact_matches);
  };
  EXPECT_EQ(evaluate(), std::pair(int64_t{2}, int64_t{2}));
  predicted.targets[13] = (predicted.targets[13] + 1) % 40;
  EXPECT_EQ(evaluate(), std::pair(int64_t{2}, int64_t{1}));
  std::fill(predicted.targets.begin(), predicted.targets.begin() + 7, kNone);
  EXPECT_EQ(evaluate(), std::pair(int64_t{1}, int64_t{0}));
}

TEST(HybridEvaluationTest, EvaluationMovesNothingThatTrainingReads) {
  HybridHarness<double> trained(SmallHybridConfig("E*E")), evaluated(SmallHybridConfig("E*E"));
  Microbatch a(kTokens), b(kTokens);
  Train(trained, a);
  Train(evaluated, b);
  const StageStatistics expected = trained.Take();
  EXPECT_EQ(expected.balance_tokens, 2 * 14);
  EXPECT_GT(expected.balance_loss, 0);
  EXPECT_EQ(evaluated.Take().balance_loss, expected.balance_loss);

  const std::vector<double> gradients = evaluated.Gradients();
  evaluated.context->mode = Mode::kEval;
  ASSERT_THAT(evaluated.Forward(*b.batch, b.upstream, 1), IsOk());
  const StageStatistics evaluation = evaluated.Take();
  EXPECT_EQ(evaluation.loss_sum, expected.loss_sum);
  EXPECT_EQ(evaluation.loss_weight, expected.loss_weight);
  EXPECT_EQ(evaluation.balance_tokens, 0);
  EXPECT_EQ(evaluation.balance_loss, 0);
  EXPECT_EQ(evaluated.Gradients(), gradients);
  const StageStatistics again = evaluated.Take();
  EXPECT_EQ(again.loss_sum, 0);
  EXPECT_EQ(again.sequences, 0);

  for (HybridHarness<double>* m : {&trained, &evaluated}) {
    ASSERT_THAT(m->stages[0]->FinishStep({}, m->context->stream), IsOk());
  }
  for (const char* name :
       {"decoder.layers.0.mlp.router.expert_bias", "decoder.layers.2.mlp.router.expert_bias"}) {
    EXPECT_THAT(evaluated.Get(name).value.values<double>(),
                testing::ElementsAreArray(trained.Get(name).value.values<double>()));
  }
}

TEST(HybridEvaluationTest, EvaluationTakesNoMemoryByTheLayer) {
  const auto peak = [](const char* pattern) {
    HybridHarness<double> m(SmallHybridConfig(pattern));
    m.context->mode = Mode::kEval;
    Microbatch b(kTokens);
    EXPECT_THAT(m.Forward(*b.batch, b.upstream), IsOk());
    return std::pair(m.context->activations.peak_bytes(),
                     m.context->stream.workspace().peak_bytes());
  };
  EXPECT_EQ(peak("ME*-ME*-ME*-"), peak("ME*-"));
  EXPECT_EQ(peak("MMMMM"), peak("MM"));
}

}  // namespace
}  // namespace hetero
