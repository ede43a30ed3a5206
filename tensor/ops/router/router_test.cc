#include "hetero/tensor/ops/router/router.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/router/scores_apart.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kScale = 2.5;
const double kNan = std::numeric_limits<double>::quiet_NaN();

class CpuStream {
 public:
  Stream& operator*() { return stream_; }

 private:
  MemoryLedger ledger_;
  Arena workspace_ = Arena::Create({}, MemoryLabel::kWorkspace, 1 << 20, ledger_).value();
  Stream stream_{{}, workspace_};
};

// One router with everything it reads and writes, poisoned.
template <typename T>
struct Router {
  Router(int64_t t, int64_t e, int64_t k, int64_t b)
      : num_tokens(t), num_experts(e), top_k(k), num_sequences(b) {}
  Router(int64_t t, int64_t e, int64_t k, int64_t b, bool biased,
         std::optional<bool> normalized_probs = {}, RouterGroups of_groups = {})
      : Router(t, e, k, b) {
    normalized = normalized_probs;
    groups = of_groups;
    Randomize(biased);
  }

  int64_t num_tokens, num_experts, top_k, num_sequences;
  bool with_aux = true;
  bool balanced = false;
  RouterGroups groups;
  std::optional<bool> normalized;
  std::vector<int32_t> offsets;  // empty: no padding
  RouterPlaces places;
  std::vector<T> logits = std::vector<T>(num_tokens * num_experts);
  std::vector<T> bias = std::vector<T>(num_experts);
  std::vector<int32_t> experts = std::vector<int32_t>(num_tokens * top_k, -7);
  std::vector<T> probs = std::vector<T>(num_tokens * top_k, static_cast<T>(kNan));
  std::vector<int32_t> counts = std::vector<int32_t>(num_experts, -7);
  std::vector<int64_t> totals = std::vector<int64_t>(num_experts);
  std::vector<int32_t> aux_counts = std::vector<int32_t>(num_sequences * num_experts, -7);
  std::vector<T> aux_sums = std::vector<T>(num_sequences * num_experts, static_cast<T>(kNan));
  std::vector<T> d_probs = std::vector<T>(num_tokens * top_k);
  std::vector<T> d_logits = std::vector<T>(num_tokens * num_experts, static_cast<T>(kNan));
  CpuStream stream;

  void Randomize(bool biased) {
    std::mt19937_64 random = FreshGenerator();
    std::normal_distribution<double> normal;
    if (biased) {
      for (T& x : bias) x = static_cast<T>(0.1 * normal(random));
    }
    for (T& x : d_probs) x = static_cast<T>(normal(random));
    for (int64_t t = 0; t < num_tokens; ++t) {
      const std::span<T> of_token = std::span(logits).subspan(t * num_experts, num_experts);
      do {
        for (T& x : of_token) x = static_cast<T>(1.5 * normal(random));
      } while (!ScoresAreApart<T>(of_token, bias, groups.count));
    }
  }
  ConstTensorView Logits() const { return {logits.data(), kDTypeOf<T>, {num_tokens, num_experts}}; }
  TensorView AuxCounts() {
    return with_aux ? TensorView(std::span(aux_counts), {num_sequences, num_experts})
                    : TensorView();
  }
  TensorView AuxSums() {
    return with_aux ? TensorView(std::span(aux_sums), {num_sequences, num_experts}) : TensorView();
  }
  absl::Status Forward(bool counted = true) {
    return RouterForward(
        {.logits_TE = Logits(),
         .expert_bias_E = {bias.data(), kDTypeOf<T>, {num_experts}},
         .token_offsets_B1 = offsets.empty()
                                 ? ConstTensorView()
                                 : ConstTensorView(offsets.data(), DType::kI32,
                                                   {static_cast<int64_t>(offsets.size())}),
         .places = places,
         .groups = groups,
         .scale = kScale,
         .normalized = normalized,
         .balanced = balanced,
         .experts_TK = {experts.data(), DType::kI32, {num_tokens, top_k}},
         .probs_TK = {probs.data(), kDTypeOf<T>, {num_tokens, top_k}},
         .counts_E = {counts.data(), DType::kI32, {num_experts}},
         .total_counts_E = counted ? TensorView(std::span(totals), {num_experts}) : TensorView(),
         .aux_counts_BE = AuxCounts(),
         .aux_prob_sums_BE = AuxSums()},
        *stream);
  }
  absl::Status Backward(double aux_coefficient) {
    return RouterBackward(
        {.logits_TE = Logits(),
         .experts_TK = {experts.data(), DType::kI32, {num_tokens, top_k}},
         .d_probs_TK = {d_probs.data(), kDTypeOf<T>, {num_tokens, top_k}},
         .places = places,
         .scale = kScale,
         .normalized = normalized,
         .aux_counts_BE = AuxCounts(),
         .aux_coefficient = aux_coefficient,
         .d_logits_TE = {d_logits.data(), kDTypeOf<T>, {num_tokens, num_experts}}},
        *stream);
  }
  // Σ_b S_b L_b.
  double AuxLoss(double coefficient) {
    std::vector<T> loss(1);
    EXPECT_THAT(AddSequenceAuxLoss(coefficient, AuxCounts(), AuxSums(),
                                   {loss.data(), kDTypeOf<T>, {1}}, *stream),
                IsOk());
    return loss[0];
  }
};

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Indices of the k largest, ties to the lower index, ascending.
std::vector<int32_t> Largest(const std::vector<double>& scores, int64_t k) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

// The k largest of the experts in the groups whose two largest scores have the largest sums.
std::vector<int32_t> LargestInGroups(std::vector<double> scores, const RouterGroups& groups,
                                     int64_t k) {
  const int64_t size = std::ssize(scores) / groups.count;
  std::vector<double> sums;
  for (int64_t g = 0; g < groups.count && groups.count > 1; ++g) {
    std::vector<double> of_group(scores.begin() + g * size, scores.begin() + (g + 1) * size);
    std::ranges::sort(of_group, std::greater<>());
    sums.push_back(of_group[0] + of_group[1]);
  }
  const std::vector<int32_t> kept = Largest(sums, groups.count > 1 ? groups.chosen : 0);
  for (int64_t e = 0; e < std::ssize(scores) && groups.count > 1; ++e) {
    if (std::ranges::find(kept, e / size) == kept.end()) scores[e] = -1e9;
  }
  return Largest(scores, k);
}

template <typename T>
bool Normalizes(const Router<T>& r) {
  return r.normalized.value_or(r.top_k > 1);
}

// sum over tokens of d_probs . probs for a frozen selection, plus the balance term
// sum u_be P_te with u_be = c E n_be / sum_e n_be.
double Objective(const Router<double>& r, double coefficient) {
  double value = 0;
  for (int64_t t = 0; t < r.num_tokens; ++t) {
    if (r.experts[t * r.top_k] < 0) continue;
    std::vector<double> s;
    for (int64_t e = 0; e < r.num_experts; ++e) {
      s.push_back(Sigmoid(r.logits[t * r.num_experts + e]));
    }
    double selected = 1e-20;
    for (int64_t j = 0; j < r.top_k; ++j) selected += s[r.experts[t * r.top_k + j]];
    if (!Normalizes(r)) selected = 1;
    for (int64_t j = 0; j < r.top_k; ++j) {
      value += r.d_probs[t * r.top_k + j] * kScale * s[r.experts[t * r.top_k + j]] / selected;
    }
    const double all = std::accumulate(s.begin(), s.end(), 1e-20);
    const auto counts = r.aux_counts.begin() + t / (r.num_tokens / r.num_sequences) * r.num_experts;
    const double u =
        coefficient * r.num_experts / std::accumulate(counts, counts + r.num_experts, 0.0);
    for (int64_t e = 0; e < r.num_experts && r.with_aux; ++e) value += u * counts[e] * s[e] / all;
  }
  return value;
}

TEST(RouterTest, BiasSelectsButDoesNotWeigh) {
  Router<float> r(1, 4, 2, 1);
  r.logits = {0, 1, 2, -1};
  r.bias = {0, 0, -0.5f, 0.6f};
  r.d_probs = {1, 0};
  r.with_aux = false;
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(1, 3));
  EXPECT_THAT(r.probs, IsCloseTo(std::vector{1.8276464, 0.6723536}, {.absolute = 1e-6}));
  ASSERT_THAT(r.Backward(0), IsOk());
  EXPECT_THAT(r.d_logits,
              IsCloseTo(std::vector{0.0, 0.1321927, 0.0, -0.3593371}, {.absolute = 1e-6}));
}

TEST(RouterTest, BalanceLossOfThreeTokens) {
  Router<double> r(3, 4, 2, 1);
  r.logits = {0, 1, 2, -1, .2, 1.5, -1, .5, .3, 1, 2, 0};
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.aux_counts, ElementsAre(0, 3, 2, 1));
  EXPECT_THAT(r.aux_sums,
              IsCloseTo(std::vector{.6672730, .9411575, .8169073, .5746622}, {.absolute = 1e-7}));
  EXPECT_NEAR(r.AuxLoss(.01) / 3, 0.0111821094, 1e-10);
  ASSERT_THAT(r.Backward(.01 / 3), IsOk());
  EXPECT_THAT(r.d_logits, IsCloseTo(std::vector{-4.13978e-4, 2.24977e-4, 2.21408e-5, -1.42055e-4,
                                                -3.89501e-4, 2.05490e-4, 7.74591e-5, -1.38613e-4,
                                                -3.35358e-4, 2.18217e-4, 2.96758e-5, -1.36150e-4},
                                    {.absolute = 1e-9}));
}

TEST(RouterTest, EqualScoresPickLowerExpertsAndUniformLoadCostsTheCoefficient) {
  Router<float> r(2, 128, 6, 1);
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5));
  EXPECT_NEAR(r.AuxLoss(1e-4) / 2, 1e-4, 1e-10);
}

TEST(RouterTest, BalancedRoutingGoesAroundTheExperts) {
  Router<float> r(3, 5, 2, 1, /*biased=*/true);
  r.balanced = true;
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 1, 2, 3, 0, 4));
}

struct RouterCase {
  int64_t num_tokens, num_experts, top_k, num_sequences;
  bool biased;
  std::optional<bool> normalized = {};
  RouterGroups groups = {};
};
class RouterSweepTest : public ::testing::TestWithParam<RouterCase> {
 protected:
  template <typename T>
  Router<T> Make() const {
    const RouterCase& c = GetParam();
    return Router<T>(c.num_tokens, c.num_experts, c.top_k, c.num_sequences, c.biased, c.normalized,
                     c.groups);
  }
};

TEST_P(RouterSweepTest, AgreesWithSorting) {
  Router<float> r = Make<float>();
  ASSERT_THAT(r.Forward(), IsOk());
  std::vector<int32_t> experts;
  std::vector<double> probs;
  std::vector<int32_t> counts(r.num_experts);
  std::vector<int32_t> aux_counts(r.num_sequences * r.num_experts);
  std::vector<double> aux_sums(r.num_sequences * r.num_experts);
  for (int64_t t = 0; t < r.num_tokens; ++t) {
    std::vector<double> s, biased;
    for (int64_t e = 0; e < r.num_experts; ++e) {
      s.push_back(Sigmoid(r.logits[t * r.num_experts + e]));
      biased.push_back(s.back() + r.bias[e]);
    }
    double selected = 0;
    const std::vector<int32_t> chosen = LargestInGroups(biased, r.groups, r.top_k);
    for (const int32_t e : chosen) selected += s[e];
    for (const int32_t e : chosen) {
      experts.push_back(e);
      probs.push_back(kScale * s[e] / (Normalizes(r) ? selected : 1));
      ++counts[e];
    }
    const int64_t row = t / (r.num_tokens / r.num_sequences) * r.num_experts;
    for (const int32_t e : Largest(s, r.top_k)) ++aux_counts[row + e];
    const double all = std::accumulate(s.begin(), s.end(), 0.0);
    for (int64_t e = 0; e < r.num_experts; ++e) aux_sums[row + e] += s[e] / all;
  }
  EXPECT_EQ(r.experts, experts);
  EXPECT_THAT(r.probs, IsCloseTo(probs, {.relative = 16 * Epsilon<float>()}));
  EXPECT_EQ(r.counts, counts);
  EXPECT_EQ(r.aux_counts, aux_counts);
  EXPECT_THAT(r.aux_sums, IsCloseTo(aux_sums, {.relative = 64 * Epsilon<float>()}));
  EXPECT_TRUE(std::equal(r.totals.begin(), r.totals.end(), counts.begin()));
}

TEST_P(RouterSweepTest, CountsAddUpOnlyWhenAsked) {
  Router<float> r = Make<float>();
  ASSERT_THAT(r.Forward(), IsOk());
  const std::vector<float> probs = r.probs;
  ASSERT_THAT(r.Forward(), IsOk());
  ASSERT_THAT(r.Forward(/*counted=*/false), IsOk());
  EXPECT_EQ(r.probs, probs);
  for (int64_t e = 0; e < r.num_experts; ++e) EXPECT_EQ(r.totals[e], 2 * r.counts[e]);
}

TEST_P(RouterSweepTest, GradientMatchesFiniteDifferences) {
  constexpr double kStep = 1e-6;
  Router<double> r = Make<double>();
  ASSERT_THAT(r.Forward(), IsOk());
  constexpr double kCoefficient = 0.3;
  const std::vector<double> d_probs = r.d_probs;
  r.d_probs.assign(d_probs.size(), 0);
  EXPECT_NEAR(r.AuxLoss(kCoefficient), Objective(r, kCoefficient), 1e-12);
  r.d_probs = d_probs;
  ASSERT_THAT(r.Backward(kCoefficient), IsOk());
  std::vector<double> expected;
  for (double& logit : r.logits) {
    const double at = logit;
    logit = at + kStep;
    const double above = Objective(r, kCoefficient);
    logit = at - kStep;
    const double below = Objective(r, kCoefficient);
    logit = at;
    expected.push_back((above - below) / (2 * kStep));
  }
  EXPECT_THAT(r.d_logits, IsCloseTo(expected, {.absolute = 1e-7}));
  const std::vector<double> first = r.d_logits;
  ASSERT_THAT(r.Backward(kCoefficient), IsOk());
  EXPECT_EQ(r.d_logits, first);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, RouterSweepTest,
    ::testing::Values(RouterCase{1, 1, 1, 1, false}, RouterCase{6, 5, 1, 3, true},
                      RouterCase{8, 8, 2, 2, true}, RouterCase{7, 8, 2, 1, false},
                      RouterCase{12, 19, 6, 4, true}, RouterCase{4, 3, 3, 1, true},
                      RouterCase{8, 8, 2, 2, true, false}, RouterCase{6, 5, 1, 3, true, true},
                      RouterCase{40, 12, 3, 2, true, {}, {.count = 4, .chosen = 2}},
                      RouterCase{40, 12, 1, 1, false, false, {.count = 6, .chosen = 5}},
                      RouterCase{9, 12, 3, 1, true, false, {.count = 4, .chosen = 1}},
                      RouterCase{9, 8, 3, 1, true, {}, {.count = 2, .chosen = 2}}));

// By hand: group 1 has the largest expert, but group 0 the largest two.
TEST(RouterTest, AGroupIsAsGoodAsItsTwoBestExperts) {
  Router<float> r(1, 6, 2, 1);
  r.logits = {1, 1, -9, 2, -9, -9};
  r.bias = {0, 0, 0, 0, 0, 0};
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 3));
  r.groups = {.count = 2, .chosen = 1};
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 1));
  // The balance loss counts what is best without groups.
  EXPECT_THAT(r.aux_counts, ElementsAre(1, 0, 0, 1, 0, 0));
  r.logits = {1, 1, -9, 1, 1, -9};
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 1)) << "of equal groups the lower";
  r.logits.assign(6, static_cast<float>(kNan));
  ASSERT_THAT(r.Forward(), IsOk());
  EXPECT_THAT(r.experts, ElementsAre(0, 1)) << "a diverged step stays in bounds";
}

TEST(RouterTest, LossesOfSequencesAndOfShardsAddUp) {
  Router<double> both(10, 6, 2, 2);
  both.Randomize(/*biased=*/false);
  ASSERT_THAT(both.Forward(), IsOk());
  double sum = 0;
  for (int b = 0; b < 2; ++b) {
    Router<double> one(5, 6, 2, 1);
    std::copy_n(both.logits.begin() + b * 30, 30, one.logits.begin());
    ASSERT_THAT(one.Forward(), IsOk());
    sum += one.AuxLoss(1);

    // Shards of three and two tokens see the whole count and their own probabilities.
    double sharded = 0;
    for (const auto& [begin, count] : {std::pair{0, 3}, std::pair{3, 2}}) {
      Router<double> shard(count, 6, 2, 1);
      std::copy_n(one.logits.begin() + begin * 6, count * 6, shard.logits.begin());
      ASSERT_THAT(shard.Forward(), IsOk());
      shard.aux_counts = one.aux_counts;
      sharded += shard.AuxLoss(1);
    }
    EXPECT_NEAR(sharded, one.AuxLoss(1), 1e-13);
  }
  EXPECT_NEAR(both.AuxLoss(1), sum, 1e-13);
}

// Sequences of 3, 0 and 5 tokens in rows of five: each is what it is alone.
TEST(RouterTest, PaddingIsNeitherRoutedNorCounted) {
  for (const bool balanced : {false, true}) {
    Router<double> padded(15, 6, 2, 3, /*biased=*/true);
    padded.offsets = {0, 3, 3, 8};
    padded.balanced = balanced;
    ASSERT_THAT(padded.Forward(), IsOk());
    ASSERT_THAT(padded.Backward(0.1), IsOk());
    std::vector<int32_t> counts(6), places;
    double loss = 0;
    for (const auto& [begin, count] : {std::pair{0, 3}, std::pair{10, 5}}) {
      Router<double> alone(count, 6, 2, 1);
      alone.balanced = balanced;
      alone.bias = padded.bias;
      std::copy_n(padded.logits.begin() + begin * 6, count * 6, alone.logits.begin());
      std::copy_n(padded.d_probs.begin() + begin * 2, count * 2, alone.d_probs.begin());
      ASSERT_THAT(alone.Forward(), IsOk());
      if (!balanced) {
        EXPECT_TRUE(std::ranges::equal(alone.experts,
                                       std::span(padded.experts).subspan(begin * 2, count * 2)));
        EXPECT_TRUE(
            std::ranges::equal(alone.probs, std::span(padded.probs).subspan(begin * 2, count * 2)));
        ASSERT_THAT(alone.Backward(0.1), IsOk());
        EXPECT_TRUE(std::ranges::equal(alone.d_logits,
                                       std::span(padded.d_logits).subspan(begin * 6, count * 6)));
      }
      EXPECT_TRUE(std::ranges::equal(alone.aux_counts,
                                     std::span(padded.aux_counts).subspan(begin / 5 * 6, 6)));
      loss += alone.AuxLoss(1);
      for (int t = begin; t < begin + count; ++t) places.push_back(t);
    }
    EXPECT_NEAR(padded.AuxLoss(1), loss, 1e-13);
    EXPECT_THAT(std::span(padded.aux_counts).subspan(6, 6), Each(0));
    for (size_t n = 0; n < places.size(); ++n) {
      for (int j = 0; j < 2; ++j) {
        const int32_t expert = padded.experts[places[n] * 2 + j];
        ++counts[expert];
        if (balanced) {
          EXPECT_EQ(expert, static_cast<int32_t>((2 * n + j) % 6)) << n;
        }
      }
    }
    EXPECT_EQ(padded.counts, counts);
    EXPECT_EQ(std::accumulate(padded.totals.begin(), padded.totals.end(), 0), 16);
    for (const int t : {3, 4, 5, 9}) {
      EXPECT_THAT(std::span(padded.experts).subspan(t * 2, 2), Each(-1));
      EXPECT_THAT(std::span(padded.probs).subspan(t * 2, 2), Each(0.0));
      EXPECT_THAT(std::span(padded.d_logits).subspan(t * 6, 6), Each(0.0));
    }
  }
}

TEST(RouterTest, NoTokensAndNotANumberStayInBounds) {
  Router<float> none(0, 4, 2, 1);
  ASSERT_THAT(none.Forward(), IsOk());
  ASSERT_THAT(none.Backward(1), IsOk());
  EXPECT_THAT(none.counts, Each(0));
  EXPECT_THAT(none.aux_sums, Each(0.0f));
  EXPECT_EQ(none.AuxLoss(1), 0);

  Router<float> diverged(1, 4, 3, 1);
  diverged.logits = {static_cast<float>(kNan), 1, static_cast<float>(kNan), 2};
  ASSERT_THAT(diverged.Forward(), IsOk());
  EXPECT_THAT(diverged.experts, ElementsAre(0, 1, 3));
}

TEST(ExpertBiasTest, MovesAgainstTheLoad) {
  CpuStream stream;
  std::vector<int64_t> counts = {10, 2, 6, 6};
  std::vector<float> bias(4);
  const TensorView counts_E(std::span<int64_t>(counts), {4});
  const TensorView bias_E(std::span<float>(bias), {4});
  ASSERT_THAT(UpdateExpertBias(1e-3, {}, counts_E, bias_E, *stream), IsOk());
  EXPECT_THAT(bias, ElementsAre(-1e-3f, 1e-3f, 0.0f, 0.0f));
  EXPECT_THAT(counts, Each(0));
  ASSERT_THAT(UpdateExpertBias(1e-3, {}, counts_E, bias_E, *stream), IsOk());
  EXPECT_THAT(bias, ElementsAre(-1e-3f, 1e-3f, 0.0f, 0.0f));
}

TEST(ExpertBiasTest, MovesWithTheStepAndForgetsTheCountsOfOneThatIsSkipped) {
  CpuStream stream;
  std::vector<int64_t> counts = {3, 1};
  std::vector<double> bias(2), decisions(kNumUpdateDecisions);
  const TensorView counts_E(std::span<int64_t>(counts), {2});
  const TensorView bias_E(std::span<double>(bias), {2});
  const ConstTensorView decided(decisions.data(), DType::kF64, {kNumUpdateDecisions});
  ASSERT_THAT(UpdateExpertBias(1e-3, decided, counts_E, bias_E, *stream), IsOk());
  EXPECT_THAT(bias, Each(0.0));
  EXPECT_THAT(counts, Each(0));
  counts = {3, 1};
  decisions[kUpdateApply] = 1;
  ASSERT_THAT(UpdateExpertBias(1e-3, decided, counts_E, bias_E, *stream), IsOk());
  EXPECT_THAT(bias, ElementsAre(-1e-3, 1e-3));
}

// A rank's rows of sequences with padding, for every cut: what the whole routes, and of the counts
// and sums a part.
TEST(RouterTest, RowsOfARankAreRoutedAsInTheWhole) {
  constexpr int64_t kExperts = 6, kTopK = 2, kSequences = 3, kTokens = 15;
  for (const bool balanced : {false, true}) {
    for (const bool padded : {false, true}) {
      Router<double> whole(kTokens, kExperts, kTopK, kSequences, /*biased=*/true);
      if (padded) whole.offsets = {0, 3, 3, 8};
      whole.balanced = balanced;
      ASSERT_THAT(whole.Forward(), IsOk());
      ASSERT_THAT(whole.Backward(0.1), IsOk());
      for (const int64_t num_ranks : {2, 4, 7}) {
        const int64_t rows = (kTokens + num_ranks - 1) / num_ranks;
        std::vector<int32_t> aux_counts(kSequences * kExperts), counts(kExperts);
        std::vector<double> aux_sums(kSequences * kExperts);
        for (int64_t rank = 0; rank < num_ranks; ++rank) {
          Router<double> part(rows, kExperts, kTopK, kSequences);
          part.offsets = whole.offsets;
          part.balanced = balanced;
          part.bias = whole.bias;
          part.places = {.first = rank * rows, .num_all = kTokens};
          const int64_t owned = std::clamp<int64_t>(kTokens - rank * rows, 0, rows);
          const auto copy = [&](const auto& from, auto& to, int64_t width) {
            std::copy_n(from.begin() + std::min(kTokens, rank * rows) * width, owned * width,
                        to.begin());
          };
          copy(whole.logits, part.logits, kExperts);
          copy(whole.d_probs, part.d_probs, kTopK);
          ASSERT_THAT(part.Forward(), IsOk());
          for (size_t i = 0; i < aux_counts.size(); ++i) {
            aux_counts[i] += part.aux_counts[i];
            aux_sums[i] += part.aux_sums[i];
          }
          for (int64_t e = 0; e < kExperts; ++e) counts[e] += part.counts[e];
          part.aux_counts = whole.aux_counts;
          ASSERT_THAT(part.Backward(0.1), IsOk());
          std::vector<int32_t> experts(rows * kTopK, -1);
          std::vector<double> probs(rows * kTopK), d_logits(rows * kExperts);
          copy(whole.experts, experts, kTopK);
          copy(whole.probs, probs, kTopK);
          copy(whole.d_logits, d_logits, kExperts);
          EXPECT_EQ(part.experts, experts);
          EXPECT_EQ(part.probs, probs);
          EXPECT_EQ(part.d_logits, d_logits);
        }
        EXPECT_EQ(aux_counts, whole.aux_counts);
        EXPECT_EQ(counts, whole.counts);
        EXPECT_THAT(aux_sums, IsCloseTo(whole.aux_sums, {.absolute = 1e-13}));
      }
    }
  }
}

TEST(RouterTest, RefusesWhatDoesNotFit) {
  Router<float> r(6, 4, 2, 4);
  EXPECT_THAT(r.Forward(), StatusIs(absl::StatusCode::kInvalidArgument,
                                    AllOf(HasSubstr("6 tokens"), HasSubstr("4 sequences"))));
  Router<float> offsets(6, 4, 2, 3);
  offsets.offsets = {0, 2, 4};
  EXPECT_THAT(offsets.Forward(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("aux_counts_BE is i32[3,4]")));
  Router<float> wide(6, 4, 5, 1);
  EXPECT_THAT(wide.Forward(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top-k is 5")));
  for (const RouterGroups groups : {RouterGroups{4, 1}, RouterGroups{3, 1}, RouterGroups{0, 1}}) {
    Router<float> small(6, 4, 2, 1);
    small.groups = groups;
    EXPECT_THAT(small.Forward(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("groups for 4 experts")));
  }
  for (const RouterGroups groups : {RouterGroups{2, 1}, RouterGroups{2, 3}, RouterGroups{2, 0}}) {
    Router<float> few(6, 4, 3, 1);
    few.groups = groups;
    EXPECT_THAT(few.Forward(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("of 2 groups of 2 experts")));
  }
}

TEST(RouterTest, ShapeOnlyCountsWithoutTouchingData) {
  Arena memory = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({DeviceKind::kShapeOnly}, workspace);
  const auto make = [&](DType dtype, std::initializer_list<int64_t> dims) {
    return memory.Allocate(dtype, dims).value();
  };
  const TensorView logits = make(DType::kF32, {384, 8});
  const TensorView experts = make(DType::kI32, {384, 2});
  const TensorView probs = make(DType::kF32, {384, 2});
  ASSERT_THAT(RouterForward({.logits_TE = logits,
                             .expert_bias_E = make(DType::kF32, {8}),
                             .scale = 1,
                             .experts_TK = experts,
                             .probs_TK = probs,
                             .counts_E = make(DType::kI32, {8}),
                             .total_counts_E = {},
                             .aux_counts_BE = {},
                             .aux_prob_sums_BE = {}},
                            stream),
              IsOk());
  EXPECT_GT(stream.ledger().total_flops(), 0);
  EXPECT_GT(workspace.peak_bytes(), 0);
}

// Where a GPU's run is predicted too.
TEST(RouterTest, NamesTheMostExpertsOfAGpu) {
  Arena memory = Arena::Counting(MemoryLabel::kActivations);
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({.kind = DeviceKind::kShapeOnly, .predicts = DeviceKind::kCuda}, workspace);
  const auto route = [&](int64_t experts) {
    const auto make = [&](DType dtype, std::initializer_list<int64_t> dims) {
      return memory.Allocate(dtype, dims).value();
    };
    return RouterForward({.logits_TE = make(DType::kF32, {3, experts}),
                          .expert_bias_E = make(DType::kF32, {experts}),
                          .experts_TK = make(DType::kI32, {3, 1}),
                          .probs_TK = make(DType::kF32, {3, 1}),
                          .counts_E = make(DType::kI32, {experts})},
                         stream);
  };
  EXPECT_THAT(route(2048), IsOk());
  EXPECT_THAT(route(2049), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 2048")));
}

}  // namespace
}  // namespace hetero
