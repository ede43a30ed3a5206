#include "hetero/models/blocks/moe/moe.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

MoeConfig SmallConfig(DType storage) {
  return {.hidden_size = 6,
          .num_experts = 5,
          .top_k = 2,
          .ffn_size = 4,
          .shared_ffn_size = 7,
          .router_scaling = 2.5,
          .aux_loss_coefficient = 0.05,
          .expert_bias_rate = 1e-3,
          .init_std = 0.5,
          .output_init_std = 0.5,
          .storage = storage};
}

// A block with random parameters, an input and a gradient of its output.
template <typename T>
struct Harness {
  Harness(MoeConfig moe_config, int64_t num_rows, int64_t row_length)
      : config(moe_config),
        batch{.num_rows = num_rows, .row_length = row_length},
        hidden(std::max<int64_t>(1, batch.num_tokens() * config.hidden_size)),
        d_out(hidden.size()),
        counts(config.num_experts) {
    for (const auto& parameter : store->parameters()) {
      if (parameter->spec->is_buffer) continue;
      FillRandom(parameter->value, parameters_seed++, 0.5, 0.2);
    }
    FillRandom(View(hidden), 77, 1);
    FillRandom(View(d_out), 78, 1);
  }

  TensorView View(std::vector<T>& values) {
    return {values.data(), kDTypeOf<T>, {batch.num_tokens(), config.hidden_size}};
  }
  Parameter& Get(std::string_view name) { return *store->Find(name).value(); }
  std::vector<double> Weight(std::string_view name) {
    const auto values = Get(name).value.template values<T>();
    return {values.begin(), values.end()};
  }
  std::vector<T> Forward(Mode mode = Mode::kTrain) {
    context->mode = mode;
    const absl::StatusOr<TensorView> out = block.Forward(*context, View(hidden), batch, saved);
    EXPECT_THAT(out, IsOk());
    const auto values = out->template values<T>();
    return {values.begin(), values.end()};
  }
  std::vector<T> Backward() {
    std::vector<T> gradient = d_out;
    EXPECT_THAT(block.Backward(*context, saved, View(gradient)), IsOk());
    return gradient;
  }
  // <d_out, out> + the balance loss as a step weighs it.
  double Loss() {
    context.Reset();
    balance_loss[0] = 0;
    const std::vector<T> out = Forward();
    return std::inner_product(out.begin(), out.end(), d_out.begin(), 0.0) +
           config.aux_loss_coefficient * balance_loss[0];
  }

  MoeConfig config;
  SequenceBatch batch;
  std::vector<T> hidden, d_out;
  std::vector<int64_t> counts;
  std::vector<T> balance_loss = std::vector<T>(1);
  MemoryLedger memory;
  uint64_t parameters_seed = 1;
  std::unique_ptr<ParameterStore> store =
      ParameterStore::Create(ParameterTable::Make(MoeBlock::Parameters(config, "")).value(), {}, {},
                             memory)
          .value();
  MoeBlock block =
      MoeBlock::Create(config, "", *store,
                       {.tokens_per_expert_E = {counts.data(), DType::kI64, {config.num_experts}},
                        .balance_loss_1 = {balance_loss.data(), kDTypeOf<T>, {1}}},
                       nullptr, nullptr)
          .value();
  MoeBlock::Saved saved;
  TestContext context;
};

// relu(x w1ᵀ)² w2ᵀ times p, added to out. w1 [f, h], w2 [h, f].
void AddFeedForward(std::span<const double> x, std::span<const double> w1,
                    std::span<const double> w2, double p, std::span<double> out) {
  const size_t h = x.size(), f = w1.size() / h;
  for (size_t i = 0; i < f; ++i) {
    const double inner =
        std::max(0.0, std::inner_product(x.begin(), x.end(), w1.begin() + i * h, 0.0));
    for (size_t j = 0; j < h; ++j) out[j] += p * inner * inner * w2[j * f + i];
  }
}

// Every expert on every token, masked by the routing: no sorting, no offsets.
template <typename T>
std::vector<double> Dense(Harness<T>& m) {
  const MoeConfig& c = m.config;
  const size_t h = c.hidden_size, e_count = c.num_experts, k = c.top_k;
  const auto gamma = m.Weight("pre_mlp_layernorm.weight"), router = m.Weight("mlp.router.weight"),
             bias = m.Weight("mlp.router.expert_bias"),
             w1 = m.Weight("mlp.experts.linear_fc1.weight"),
             w2 = m.Weight("mlp.experts.linear_fc2.weight"),
             s1 = m.Weight("mlp.shared_experts.linear_fc1.weight"),
             s2 = m.Weight("mlp.shared_experts.linear_fc2.weight");
  std::vector<double> result;
  for (int64_t t = 0; t < m.batch.num_tokens(); ++t) {
    std::vector<double> out(m.hidden.begin() + t * h, m.hidden.begin() + (t + 1) * h), x = out;
    const double mean_square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / h;
    for (size_t i = 0; i < h; ++i) x[i] *= gamma[i] / std::sqrt(mean_square + c.norm_epsilon);
    std::vector<double> score(e_count);
    std::vector<size_t> order(e_count);
    for (size_t e = 0; e < e_count; ++e) {
      score[e] =
          1 / (1 + std::exp(-std::inner_product(x.begin(), x.end(), router.begin() + e * h, 0.0)));
      order[e] = e;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return score[a] + bias[a] > score[b] + bias[b]; });
    const std::set<size_t> chosen(order.begin(), order.begin() + k);
    double sum = 0;
    for (const size_t e : chosen) sum += score[e];
    const size_t f = c.ffn_size;
    for (size_t e = 0; e < e_count; ++e) {
      const double p = !chosen.contains(e) ? 0
                       : k == 1            ? c.router_scaling * score[e]
                                           : c.router_scaling * score[e] / sum;
      AddFeedForward(x, std::span(w1).subspan(e * f * h, f * h),
                     std::span(w2).subspan(e * f * h, f * h), p, out);
    }
    AddFeedForward(x, s1, s2, 1, out);
    result.insert(result.end(), out.begin(), out.end());
  }
  return result;
}

TEST(MoeTest, EqualsADenseEvaluationOfAllExperts) {
  Harness<float> f32(SmallConfig(DType::kF32), 3, 7);
  EXPECT_THAT(f32.Forward(), IsCloseTo(Dense(f32), {.relative = 1e-5, .relative_to_max = 1e-5}));
  for (const int64_t k : {1, 2, 5}) {
    MoeConfig config = SmallConfig(DType::kF64);
    config.top_k = k;
    Harness<double> f64(config, 3, 7);
    f64.Get("mlp.router.expert_bias").value.data<double>()[1] = 0.2;
    EXPECT_THAT(f64.Forward(), IsCloseTo(Dense(f64), {.absolute = 1e-11, .relative = 1e-12}));
  }
}

class MoeGradientTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(MoeGradientTest, MatchesDifferencesAndUnusedExpertsGetZero) {
  MoeConfig config = SmallConfig(DType::kF64);
  config.top_k = GetParam();
  Harness<double> m(config, 2, 6);
  m.Get("mlp.router.expert_bias").value.data<double>()[2] = -10;
  m.Forward();
  std::vector<double> d_hidden = m.Backward();
  std::vector<CheckedTensor> tensors = CheckedParameters(*m.store);
  tensors.push_back({"hidden", m.View(m.hidden), m.View(d_hidden)});
  CheckGradients([&] { return m.Loss(); }, tensors);
  for (const std::string name :
       {"mlp.experts.linear_fc1.weight", "mlp.experts.linear_fc2.weight"}) {
    const auto gradient = m.Get(name).gradient.At(2).Reshape({24}).values<double>();
    EXPECT_THAT(gradient, Each(0.0));
  }
  EXPECT_EQ(m.counts[2], 0);

  // A second microbatch adds.
  const auto fc1 = m.Get("mlp.experts.linear_fc1.weight").gradient.values<double>();
  const std::vector<double> once(fc1.begin(), fc1.end());
  m.Forward();
  EXPECT_EQ(m.Backward(), d_hidden);
  for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(fc1[i], 2 * once[i], 1e-10);
}

INSTANTIATE_TEST_SUITE_P(TopK, MoeGradientTest, ::testing::Values(1, 2));

TEST(MoeTest, OnlyTrainingForwardsCount) {
  Harness<float> m(SmallConfig(DType::kF32), 4, 5);
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

TEST(MoeTest, TheBiasStaysWhereAStepIsSkippedUnlessAsked) {
  for (const bool moves : {false, true}) {
    MoeConfig config = SmallConfig(DType::kF64);
    config.update_bias_on_skip = moves;
    Harness<double> m(config, 2, 3);
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
TEST(MoeTest, PaddingHasNoExpertRows) {
  Harness<double> m(SmallConfig(DType::kF64), 2, 5);
  const std::vector<int32_t> offsets = {0, 3, 3};
  m.batch.token_offsets = offsets;
  m.batch.device_token_offsets = ConstTensorView(offsets.data(), DType::kI32, {3});
  m.Forward();
  EXPECT_EQ(m.saved.experts.count(), 3 * 2);
  EXPECT_EQ(std::accumulate(m.counts.begin(), m.counts.end(), 0), 3 * 2);
  std::vector<double> d_hidden = m.Backward();
  CheckGradients([&] { return m.Loss(); }, {{"hidden", m.View(m.hidden), m.View(d_hidden)}});
}

TEST(MoeTest, FrozenWeightsPassTheInputGradientOn) {
  Harness<float> m(SmallConfig(DType::kF32), 2, 5);
  m.Forward();
  const std::vector<float> d_hidden = m.Backward();
  m.context->needs_weight_gradient = false;
  EXPECT_EQ(m.Backward(), d_hidden);
}

TEST(MoeTest, NoTokensAndOneToken) {
  for (const int64_t tokens : {0, 1}) {
    Harness<double> m(SmallConfig(DType::kF64), tokens, 1);
    EXPECT_THAT(m.Forward(), IsCloseTo(Dense(m), {.absolute = 1e-11, .relative = 1e-12}));
    EXPECT_EQ(std::accumulate(m.counts.begin(), m.counts.end(), int64_t{0}),
              tokens * m.config.top_k);
    m.Backward();
  }
}

TEST(MoeTest, ForcedBalanceUsesEveryExpertEqually) {
  MoeConfig config = SmallConfig(DType::kF64);
  config.force_load_balancing = true;
  Harness<double> m(config, 2, 5);
  m.Forward();
  EXPECT_THAT(m.counts, Each(2 * 5 * 2 / 5));
  std::vector<double> d_hidden = m.Backward();
  CheckGradients([&] { return m.Loss(); }, {{"hidden", m.View(m.hidden), m.View(d_hidden)}});
}

TEST(MoeTest, TheShapeOnlyDevicePredictsTheBytes) {
  const MoeConfig config = SmallConfig(DType::kF32);
  Harness<float> real(config, 3, 8);
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
                       nullptr, nullptr)
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

TEST(MoeTest, ProductionParameterCount) {
  const MoeConfig config{.hidden_size = 2688,
                         .num_experts = 128,
                         .top_k = 6,
                         .ffn_size = 1856,
                         .shared_ffn_size = 3712};
  EXPECT_EQ(ParameterTable::Make(MoeBlock::Parameters(config, "")).value().num_parameters(),
            1277165568 + 19955712 + 344064 + 2688);
}

TEST(MoeTest, RefusesMoreChoicesThanExperts) {
  MoeConfig config = SmallConfig(DType::kF32);
  const Harness<float> harness(config, 1, 1);
  config.top_k = 6;
  EXPECT_THAT(MoeBlock::Create(config, "", *harness.store, {}, nullptr, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top_k is 6")));
}

}  // namespace
}  // namespace hetero
