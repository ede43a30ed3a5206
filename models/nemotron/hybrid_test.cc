// What a language model and its stages compute, and what they leave alone.

#include "hetero/models/nemotron/hybrid.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/nemotron/hybrid_microbatch.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using namespace hybrid_microbatch;  // NOLINT: made for these tests
using ::absl_testing::IsOk;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::Pointwise;

TEST(HybridTest, GradientsMatchDifferencesThroughEveryKindOfBlock) {
  for (const HybridConfig& config : {SmallHybridConfig("ME*-E"), OtherHybridConfig("ME*-E")}) {
    HybridHarness<double> m(config);
    Microbatch b(kTokens);
    Train(m, b);
    std::vector<CheckedTensor> tensors = CheckedParameters(*m.stores[0]);
    tensors.push_back({"upstream", m.Rows(b.upstream), m.Rows(b.d_upstream)});
    CheckGradients([&] { return m.Objective(*b.batch, b.upstream); }, tensors);
  }
}

// The gradient of a tied table is the sum of those of the embedding and of the output layer.
TEST(HybridTest, ATiedTableIsBothItsUses) {
  HybridConfig config = SmallHybridConfig("M*");
  HybridHarness<double> apart(config);
  config.tie_embeddings = true;
  HybridHarness<double> tied(config);
  constexpr char kTable[] = "embedding.word_embeddings.weight";
  const auto table = tied.Get(kTable).value.values<double>();
  std::ranges::copy(table, apart.Get(kTable).value.values<double>().begin());
  std::ranges::copy(table, apart.Get("output_layer.weight").value.values<double>().begin());
  for (Parameter* const parameter : tied.Parameters()) {
    std::ranges::copy(parameter->value.values<double>(),
                      apart.Get(parameter->spec->name).value.values<double>().begin());
  }
  // The second microbatch adds to both.
  Microbatch a0(kTokens), a1(kTextOnly), b0(kTokens), b1(kTextOnly);
  Train(apart, a0);
  Train(apart, a1);
  Train(tied, b0);
  Train(tied, b1);
  EXPECT_EQ(tied.Take().loss_sum, apart.Take().loss_sum);
  EXPECT_EQ(b0.d_upstream, a0.d_upstream);
  const auto sum = tied.Get(kTable).gradient.values<double>();
  const auto of_embedding = apart.Get(kTable).gradient.values<double>();
  const auto of_output = apart.Get("output_layer.weight").gradient.values<double>();
  for (size_t i = 0; i < sum.size(); ++i) {
    EXPECT_NEAR(sum[i], of_embedding[i] + of_output[i], 1e-13 * (1 + std::abs(sum[i])));
  }
}

TEST(HybridTest, LogitsInChunksGiveTheSameGradients) {
  HybridConfig config = SmallHybridConfig("M*");
  HybridHarness<double> whole(config);
  config.logits_chunk_rows = 3;
  HybridHarness<double> in_chunks(config);
  Microbatch of_whole(kTokens), of_chunks(kTokens);
  Train(whole, of_whole);
  Train(in_chunks, of_chunks);
  EXPECT_THAT(in_chunks.Gradients(), Pointwise(DoubleNear(1e-12), whole.Gradients()));
}

TEST(HybridTest, TokensBehindTheLastThatCountsGetNoGradient) {
  HybridConfig config = SmallHybridConfig("ME*-");
  config.experts.aux_loss_coefficient = 0;
  HybridHarness<double> m(config);
  Microbatch b(kTokens);
  Train(m, b);
  const TensorView d_upstream = m.Rows(b.d_upstream);
  EXPECT_THAT(d_upstream.Rows(2, 1).values<double>(), Each(0.0));
  for (const int row : {0, 1, 3}) {
    EXPECT_THAT(d_upstream.Rows(row, 1).values<double>(), Each(testing::Ne(0.0)));
  }
  const TensorView embedding = m.Get("embedding.word_embeddings.weight").gradient;
  for (const int id : {30, 1, 8, 20}) {
    EXPECT_THAT(embedding.At(id).values<double>(), Each(0.0)) << id;
  }
  EXPECT_THAT(embedding.At(5).values<double>(), Each(testing::Ne(0.0)));
}

TEST(HybridTest, WithoutALossTokenEveryGradientIsZero) {
  HybridConfig config = SmallHybridConfig("ME*-");
  config.experts.aux_loss_coefficient = 0;
  HybridHarness<double> m(config);
  TestTokens tokens = kTokens;
  tokens.targets.assign(tokens.num_tokens(), kNone);
  Microbatch b(tokens);
  Train(m, b);
  EXPECT_THAT(m.Gradients(), Each(0.0));
  EXPECT_THAT(b.d_upstream, Each(0.0));
  const StageStatistics statistics = m.Take();
  EXPECT_EQ(statistics.loss_weight, 0);
  EXPECT_EQ(statistics.loss_sum, 0);
}

TEST(HybridTest, TwoMicrobatchesInFlightEqualOneAfterTheOther) {
  HybridHarness<double> sequential(SmallHybridConfig("ME*-")),
      interleaved(SmallHybridConfig("ME*-"));
  Microbatch a0(kTokens), a1(kTextOnly), b0(kTokens), b1(kTextOnly);
  Train(sequential, a0);
  Train(sequential, a1);
  ASSERT_THAT(interleaved.Forward(*b0.batch, b0.upstream, 0), IsOk());
  ASSERT_THAT(interleaved.Forward(*b1.batch, b1.upstream, 1), IsOk());
  ASSERT_THAT(interleaved.Backward(b0.d_upstream, 0), IsOk());
  ASSERT_THAT(interleaved.Backward(b1.d_upstream, 1), IsOk());
  EXPECT_EQ(interleaved.Gradients(), sequential.Gradients());
  EXPECT_EQ(b0.d_upstream, a0.d_upstream);
  const StageStatistics expected = sequential.Take(), actual = interleaved.Take();
  EXPECT_EQ(actual.loss_sum, expected.loss_sum);
  EXPECT_EQ(actual.loss_weight, 15);
  EXPECT_EQ(actual.balance_loss, expected.balance_loss);
  EXPECT_EQ(actual.balance_tokens, 14 + 6);
}

class HybridStagesTest : public ::testing::TestWithParam<std::pair<std::string, int>> {};

TEST_P(HybridStagesTest, StagesInARowAreTheWhole) {
  const auto& [pattern, num_stages] = GetParam();
  HybridHarness<double> whole(SmallHybridConfig(pattern)),
      split(SmallHybridConfig(pattern), num_stages);
  Microbatch a(kTokens), b(kTokens);
  Train(whole, a);
  Train(split, b);
  std::vector<std::string> names;
  for (const Parameter* parameter : whole.Parameters()) names.push_back(parameter->spec->name);
  size_t i = 0;
  for (const Parameter* parameter : split.Parameters()) {
    EXPECT_EQ(parameter->spec->name, names[i++]);
  }
  EXPECT_EQ(split.Gradients(), whole.Gradients());
  EXPECT_EQ(b.d_upstream, a.d_upstream);
  const StageStatistics expected = whole.Take(), actual = split.Take();
  EXPECT_EQ(actual.loss_sum, expected.loss_sum);
  EXPECT_EQ(actual.balance_loss, expected.balance_loss);
  EXPECT_EQ(actual.balance_tokens, expected.balance_tokens);
}

INSTANTIATE_TEST_SUITE_P(Patterns, HybridStagesTest,
                         ::testing::Values(std::pair("ME*-", 2), std::pair("E|M*", 2),
                                           std::pair("M*||E", 3)));

TEST(HybridTest, TextAloneNeedsNoRows) {
  HybridHarness<double> m(SmallHybridConfig("M*"));
  Microbatch with_edge(kTextOnly);
  Train(m, with_edge);
  const std::vector<double> gradients = m.Gradients();
  m.ForgetGradients();
  TestTokens tokens = kTextOnly;
  tokens.num_edges = 0;
  Microbatch without_edge(tokens);
  m.takes_rows = false;
  Train(m, without_edge);
  EXPECT_EQ(m.Gradients(), gradients);
}

TEST(HybridTest, WithoutABalanceLossThereIsNothingToAverage) {
  HybridConfig config = SmallHybridConfig("E");
  config.experts.aux_loss_coefficient = 0;
  HybridHarness<double> m(config);
  Microbatch b(kTokens);
  Train(m, b);
  EXPECT_EQ(m.Take().balance_tokens, 0);
}

TEST(HybridTest, AFrozenModelHasNoGradientsAndPassesThemOn) {
  HybridConfig config = SmallHybridConfig("ME*-");
  HybridHarness<double> trained(config);
  config.trainable = false;
  HybridHarness<double> frozen(config);
  Microbatch a(kTokens), b(kTokens);
  Train(trained, a);
  Train(frozen, b);
  EXPECT_EQ(b.d_upstream, a.d_upstream);
  EXPECT_THAT(frozen.Gradients(), testing::IsEmpty());
  EXPECT_EQ(frozen.memory.bytes(MemoryLabel::kMainGradients), 0);
  EXPECT_GT(trained.memory.bytes(MemoryLabel::kMainGradients), 0);

  const TensorView bias = frozen.Get("decoder.layers.1.mlp.router.expert_bias").value;
  const std::vector<double> before(bias.values<double>().begin(), bias.values<double>().end());
  ASSERT_THAT(frozen.stages[0]->FinishStep({}, frozen.context->stream), IsOk());
  EXPECT_THAT(bias.values<double>(), testing::ElementsAreArray(before));
}

TEST(HybridTest, AStageWhoseInputNobodyTrainsSkipsItsGradient) {
  HybridHarness<double> m(SmallHybridConfig("M*"), 2);
  Microbatch b(kTokens);
  Train(m, b);
  const std::vector<double> gradients = m.Gradients();
  m.ForgetGradients();
  ASSERT_THAT(m.Forward(*b.batch, b.upstream), IsOk());
  ASSERT_THAT(m.stages[1]->Backward(*m.context, 0, {}, {}), IsOk());
  const std::vector<double> second = m.Gradients();
  EXPECT_EQ(second, gradients);
}

TEST(HybridTest, TheShapeOnlyDevicePredictsTheBytes) {
  const HybridConfig config = SmallHybridConfig("ME*-");
  HybridHarness<double> real(config);
  Microbatch b(kTokens);
  Train(real, b);

  const Device device{DeviceKind::kShapeOnly};
  Arena activations = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Arena inputs = Arena::Counting(MemoryLabel::kData);
  MemoryLedger memory;
  Stream stream(device, workspace);
  const auto store =
      ParameterStore::Create(MakeHybridTable(config, {}).value(), {}, device, memory).value();
  const auto stage =
      HybridStage::Create(config, {}, {.parameters = *store, .device = device, .ledger = memory})
          .value();
  ModuleContext context{.stream = stream, .activations = activations};
  const auto indices = [&](int64_t n) -> ConstTensorView {
    return inputs.Allocate(DType::kI32, {n}).value();
  };
  const ConstTensorView placeholders = indices(4);
  const ConstTensorView upstream = inputs.Allocate(DType::kF64, {4, 8}).value();
  const TensorView d_upstream = inputs.Allocate(DType::kF64, {4, 8}).value();
  const TokenBatch batch{.sequences = (*b.batch).sequences,
                         .text_tokens = indices(10),
                         .text_positions = indices(10),
                         .modality_positions = {&placeholders, 1},
                         .loss_positions = indices(10),
                         .loss_targets = indices(10),
                         .loss_weights = inputs.Allocate(DType::kF64, {10}).value()};
  ASSERT_THAT(stage->Forward(context, 0, {.tokens = &batch, .edges = {&upstream, 1}}), IsOk());
  ASSERT_THAT(stage->Backward(context, 0, {}, {.edges = {&d_upstream, 1}}), IsOk());
  EXPECT_EQ(activations.peak_bytes(), real.context->activations.peak_bytes());
  EXPECT_EQ(workspace.peak_bytes(), real.context->stream.workspace().peak_bytes());
  EXPECT_EQ(memory, real.memory);
  EXPECT_EQ(stream.ledger().total_flops(), real.context->stream.ledger().total_flops());
}

}  // namespace
}  // namespace hetero
