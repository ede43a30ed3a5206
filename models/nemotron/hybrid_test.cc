#include "hetero/models/nemotron/hybrid.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/params/shard.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int32_t kRow = TestTokens::kPlaceholder;
constexpr int32_t kNone = TestTokens::kMasked;

// Two rows of seven tokens. The first has its last placeholder and id 30 behind the last token that
// counts, the second repeats ids.
const TestTokens kTokens{.num_rows = 2,
                         .row_length = 7,
                         .ids = {kRow, kRow, 5, 6, 7, kRow, 30,  //
                                 kRow, 5, 5, 9, 39, 0, 6},
                         .targets = {kNone, 5, 6, 7, 8, kNone, kNone,  //
                                     kNone, 5, 9, 39, 0, 6, 1}};

const TestTokens kTextOnly{
    .num_rows = 1, .row_length = 6, .ids = {3, 1, 4, 1, 5, 9}, .targets = {1, 4, 1, 5, kNone, 2}};

std::vector<double> RandomRows(int64_t rows, uint64_t seed) {
  std::vector<double> values(rows * 8);
  values.reserve(1);
  FillRandom(TensorView(values.data(), DType::kF64, {rows * 8}), seed, 1);
  return values;
}

// A microbatch with rows that arrive and a place for their gradients.
struct Microbatch {
  explicit Microbatch(const TestTokens& tokens, uint64_t seed = 50)
      : batch(tokens),
        upstream(RandomRows(tokens.num_placeholders(), seed)),
        d_upstream(upstream.size(), std::numeric_limits<double>::quiet_NaN()) {}

  TestTokenBatch<double> batch;
  std::vector<double> upstream, d_upstream;
};

void Train(HybridHarness<double>& m, Microbatch& microbatch, int slot = 0) {
  ASSERT_THAT(m.Forward(*microbatch.batch, microbatch.upstream, slot), IsOk());
  ASSERT_THAT(m.Backward(microbatch.d_upstream, slot), IsOk());
}

TEST(HybridTest, GradientsMatchDifferencesThroughEveryKindOfBlock) {
  HybridHarness<double> m(SmallHybridConfig("ME*-E"));
  Microbatch b(kTokens);
  Train(m, b);
  std::vector<CheckedTensor> tensors = CheckedParameters(*m.stores[0]);
  tensors.push_back({"upstream", m.Rows(b.upstream), m.Rows(b.d_upstream)});
  CheckGradients([&] { return m.Objective(*b.batch, b.upstream); }, tensors);
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

// Rows of a batch do not see each other, and gradients are sums over tokens.
TEST(HybridTest, OneBatchEqualsItsRowsOneByOne) {
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
TEST(HybridTest, PaddingChangesNothing) {
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

TEST(HybridTest, RowsOfPaddingAloneAddNothing) {
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

// N is the sum of the weights: half the weight on every token is half of everything.
TEST(HybridTest, LossWeightsCountAsTheirSum) {
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

TEST(HybridTest, IdsOutsideTheVocabularyAreErrors) {
  HybridHarness<double> m(SmallHybridConfig("M"));
  TestTokens tokens = kTextOnly;
  tokens.ids[3] = 40;
  Microbatch id(tokens);
  EXPECT_THAT(m.Forward(*id.batch, id.upstream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("token id 40 at 3; expected 0 to 39")));
  tokens = kTextOnly;
  tokens.targets[1] = 45;
  Microbatch target(tokens);
  EXPECT_THAT(
      m.Forward(*target.batch, target.upstream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("target 45 at 1; expected 0 to 39")));
}

TEST(HybridTest, BordersInsideARowNeedASequenceIndexWhateverTheLayers) {
  for (const char* pattern : {"M", "*", "E"}) {
    HybridHarness<double> m(SmallHybridConfig(pattern));
    Microbatch b(kTextOnly);
    TokenBatch batch = *b.batch;
    const std::vector<int32_t> borders = {0, 2, 6};
    batch.sequences.cu_seqlens = borders;
    EXPECT_THAT(m.Forward(batch, b.upstream),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("inside row 0, and sequence_index is null")))
        << pattern;
  }
}

// A vocabulary of 40 has 40 logits.
TEST(HybridTest, TheLossesOfAllIdsAreOneDistribution) {
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

TEST(HybridTest, EvaluationTakesNoMemoryByTheLayer) {
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

TEST(HybridTest, SequencesPackedInOneRowDoNotSeeEachOther) {
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

TEST(HybridTest, NamesRowsThatDoNotFit) {
  HybridHarness<double> m(SmallHybridConfig("M"));
  Microbatch b(kTokens);
  b.upstream = RandomRows(3, 1);
  EXPECT_THAT(
      m.Forward(*b.batch, b.upstream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("emitted 3 rows for 4 placeholders")));
  TokenBatch batch = *b.batch;
  batch.text_positions = batch.text_positions.Rows(0, 8);
  batch.text_tokens = batch.text_tokens.Rows(0, 8);
  b.upstream = RandomRows(4, 1);
  EXPECT_THAT(m.Forward(batch, b.upstream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name 12 of 14 tokens")));
  const StageInput no_edge{.tokens = &*b.batch};
  EXPECT_THAT(m.stages[0]->Forward(*m.context, 0, no_edge),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("0 modalities arrive for 1 kinds of placeholders")));
}

TEST(HybridTest, EvaluationCountsRowsThatAreRightEverywhere) {
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

TEST(HybridTest, EvaluationMovesNothingThatTrainingReads) {
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

// The shards of any number of ranks are whole tiles, and together the vocabulary and no row more.
TEST(HybridTest, TheVocabularyIsCutIntoWholeTiles) {
  HybridConfig config = SmallHybridConfig("M");
  config.mamba.num_groups = config.mamba.num_heads = 8;  // what eight ranks can divide
  for (const int64_t vocabulary : {40, 512, 50257, 131072}) {
    config.vocabulary_size = vocabulary;
    for (const int64_t ranks : {1, 2, 8}) {
      int64_t rows = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const ShardSpec spec{.tp = {.rank = rank, .size = ranks}};
        const ParameterTable table = MakeHybridTable(config, spec).value();
        EXPECT_EQ(table.specs().front().shape, (std::vector<int64_t>{vocabulary, 8}));
        const Shard shard = ShardOf(table.specs().front(), spec).value();
        EXPECT_EQ(shard.boxes[0].logical_begin[0], rows);
        rows += shard.shape[0];
        EXPECT_TRUE(shard.shape[0] % 128 == 0 || rows == vocabulary) << rank << " of " << ranks;
      }
      EXPECT_EQ(rows, vocabulary);
    }
  }
}

int64_t CountParameters(std::string_view pattern, HybridConfig config) {
  config.pattern = LayerPattern::Parse(pattern).value();
  config.attention.hidden_size = config.mamba.hidden_size = config.experts.hidden_size =
      config.hidden_size;
  return MakeHybridTable(config, {}).value().num_parameters();
}

TEST(HybridTest, ParameterCountsOfPublishedModels) {
  HybridConfig config{
      .hidden_size = 2688,
      .vocabulary_size = 131072,
      .attention = {.num_heads = 32, .num_kv_groups = 8, .head_dim = 128},
      .mamba = {.num_heads = 64, .head_dim = 64, .num_groups = 8, .state_size = 128},
      .experts = {.num_experts = 128, .top_k = 6, .ffn_size = 1856, .shared_ffn_size = 3712}};
  EXPECT_EQ(CountParameters("MEMEM*EMEMEM*EMEMEM*", config), 11515677504);
  const std::string_view production = "MEMEM*EMEM*EMEM*EMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEME";
  EXPECT_EQ(CountParameters(production, config), 31657765568);
  config.attention.num_kv_groups = 2;
  EXPECT_EQ(CountParameters(production, config), 31624735424);
  EXPECT_EQ(CountParameters("MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", config),
            31577937344);
  EXPECT_EQ(
      CountParameters(
          "MEM*E",
          {.hidden_size = 128,
           .vocabulary_size = 512,
           .attention = {.num_heads = 4, .num_kv_groups = 2, .head_dim = 32},
           .mamba = {.num_heads = 8, .head_dim = 32, .num_groups = 2, .state_size = 16},
           .experts = {.num_experts = 8, .top_k = 2, .ffn_size = 96, .shared_ffn_size = 128}}),
      860592);
}

}  // namespace
}  // namespace hetero
