// What a block of experts computes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/blocks/moe/moe_harness.h"
#include "hetero/models/testing/gradient_check.h"

namespace hetero {
namespace {

using ::testing::Each;

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
std::vector<double> Dense(MoeHarness<T>& m) {
  const MoeConfig& c = m.config;
  const size_t h = c.hidden_size, e_count = c.num_experts, k = c.top_k;
  const auto gamma = m.Weight("pre_mlp_layernorm.weight"), router = m.Weight("mlp.router.weight"),
             bias = m.Weight("mlp.router.expert_bias"),
             w1 = m.Weight("mlp.experts.linear_fc1.weight"),
             w2 = m.Weight("mlp.experts.linear_fc2.weight");
  const bool normalized = c.normalize_probabilities.value_or(k > 1);
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
    const size_t of_group = e_count / c.groups.count;
    std::vector<std::pair<double, size_t>> groups;  // best last
    for (size_t g = 0; g < e_count / of_group; ++g) {
      double best_two = 0;
      int found = 0;
      for (const size_t e : order) {
        if (e / of_group == g && found++ < 2) best_two += score[e] + bias[e];
      }
      groups.emplace_back(best_two, g);
    }
    std::ranges::sort(groups);
    std::set<size_t> allowed;
    for (int64_t g = 0; g < c.groups.chosen; ++g) allowed.insert((groups.rbegin() + g)->second);
    std::erase_if(order, [&](size_t e) { return !allowed.contains(e / of_group); });
    const std::set<size_t> chosen(order.begin(), order.begin() + k);
    double sum = 0;
    for (const size_t e : chosen) sum += score[e];
    const size_t f = c.ffn_size;
    for (size_t e = 0; e < e_count; ++e) {
      const double p =
          chosen.contains(e) ? c.router_scaling * score[e] / (normalized ? sum : 1) : 0;
      AddFeedForward(x, std::span(w1).subspan(e * f * h, f * h),
                     std::span(w2).subspan(e * f * h, f * h), p, out);
    }
    if (c.shared_ffn_size > 0) {
      AddFeedForward(x, m.Weight("mlp.shared_experts.linear_fc1.weight"),
                     m.Weight("mlp.shared_experts.linear_fc2.weight"), 1, out);
    }
    result.insert(result.end(), out.begin(), out.end());
  }
  return result;
}

TEST(MoeTest, EqualsADenseEvaluationOfAllExperts) {
  MoeHarness<float> f32(SmallMoeConfig(DType::kF32), 3, 7);
  EXPECT_THAT(f32.Forward(), IsCloseTo(Dense(f32), {.relative = 1e-5, .relative_to_max = 1e-5}));
  for (const int64_t k : {1, 2, 5}) {
    MoeConfig config = SmallMoeConfig(DType::kF64);
    config.top_k = k;
    MoeHarness<double> f64(config, 3, 7);
    f64.Get("mlp.router.expert_bias").value.data<double>()[1] = 0.2;
    EXPECT_THAT(f64.Forward(), IsCloseTo(Dense(f64), {.absolute = 1e-11, .relative = 1e-12}));
  }
}

// No shared expert, experts in groups, probabilities as they are.
MoeConfig OtherMoeConfig(int64_t chosen_groups) {
  MoeConfig config = SmallMoeConfig(DType::kF64);
  config.num_experts = 6;
  config.shared_ffn_size = 0;
  config.groups = {.count = 3, .chosen = chosen_groups};
  config.normalize_probabilities = false;
  return config;
}

TEST(MoeTest, ChoosesFromTheBestGroupsAlone) {
  for (const int64_t groups : {1, 2, 3}) {
    MoeHarness<double> m(OtherMoeConfig(groups), 3, 7);
    m.Get("mlp.router.expert_bias").value.data<double>()[1] = 0.2;
    EXPECT_THAT(m.Forward(), IsCloseTo(Dense(m), {.absolute = 1e-11, .relative = 1e-12}));
  }
  MoeConfig config = SmallMoeConfig(DType::kF64);
  config.top_k = 1;
  config.normalize_probabilities = true;
  MoeHarness<double> m(config, 3, 7);
  EXPECT_THAT(m.Forward(), IsCloseTo(Dense(m), {.absolute = 1e-11, .relative = 1e-12}));
}

MoeConfig WithTopK(int64_t top_k) {
  MoeConfig config = SmallMoeConfig(DType::kF64);
  config.top_k = top_k;
  return config;
}

class MoeGradientTest : public ::testing::TestWithParam<MoeConfig> {};

TEST_P(MoeGradientTest, MatchesDifferencesAndUnusedExpertsGetZero) {
  MoeHarness<double> m(GetParam(), 2, 6);
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

INSTANTIATE_TEST_SUITE_P(Configs, MoeGradientTest,
                         ::testing::Values(WithTopK(1), WithTopK(2), OtherMoeConfig(2)),
                         [](const auto& info) { return absl::StrCat("Config", info.index); });

TEST(MoeTest, FrozenWeightsPassTheInputGradientOn) {
  MoeHarness<float> m(SmallMoeConfig(DType::kF32), 2, 5);
  m.Forward();
  const std::vector<float> d_hidden = m.Backward();
  m.context->needs_weight_gradient = false;
  EXPECT_EQ(m.Backward(), d_hidden);
}

TEST(MoeTest, NoTokensAndOneToken) {
  for (const int64_t tokens : {0, 1}) {
    MoeHarness<double> m(SmallMoeConfig(DType::kF64), tokens, 1);
    EXPECT_THAT(m.Forward(), IsCloseTo(Dense(m), {.absolute = 1e-11, .relative = 1e-12}));
    EXPECT_EQ(std::accumulate(m.counts.begin(), m.counts.end(), int64_t{0}),
              tokens * m.config.top_k);
    m.Backward();
  }
}

TEST(MoeTest, ForcedBalanceUsesEveryExpertEqually) {
  MoeConfig config = SmallMoeConfig(DType::kF64);
  config.force_load_balancing = true;
  MoeHarness<double> m(config, 2, 5);
  m.Forward();
  EXPECT_THAT(m.counts, Each(2 * 5 * 2 / 5));
  std::vector<double> d_hidden = m.Backward();
  CheckGradients([&] { return m.Loss(); }, {{"hidden", m.View(m.hidden), m.View(d_hidden)}});
}

}  // namespace
}  // namespace hetero
