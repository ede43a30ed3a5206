#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the pieces give when `num_shards` ranks reduce between them; logits become the gradient.
template <typename T>
struct Result {
  std::vector<T> loss;
  std::vector<T> gradient;
  std::vector<int32_t> argmax = {};
};

template <typename T>
Result<T> InShards(HostTensor<T> logits, int64_t rows, int64_t columns, int64_t num_shards,
                   const HostTensor<int32_t>& targets, const HostTensor<T>& weight) {
  StreamWithWorkspace stream;
  // The last may have fewer columns or none.
  const int64_t width = CeilDiv(columns, num_shards);
  const auto begin = [&](int64_t s) { return std::min(s * width, columns); };
  const auto shard = [&](int64_t s) {
    return logits.view().Columns(begin(s), begin(s + 1) - begin(s));
  };
  HostTensor<T> max({rows}, std::vector<T>(rows, -std::numeric_limits<T>::infinity()));
  HostTensor<T> sums({2, rows}, std::vector<T>(2 * rows, 0));
  for (int64_t s = 0; s < num_shards; ++s) {
    HostTensor<T> local({rows});
    EXPECT_THAT(CrossEntropyMaximum(shard(s), local.view(), *stream), IsOk());
    for (int64_t t = 0; t < rows; ++t) max[t] = std::max(max[t], local[t]);
  }
  std::vector<int32_t> argmax(rows, std::numeric_limits<int32_t>::max());
  for (int64_t s = 0; s < num_shards; ++s) {
    HostTensor<T> local({2, rows});
    HostTensor<int32_t> largest({rows});
    EXPECT_THAT(CrossEntropySums({.logits_TV = shard(s),
                                  .first_column = begin(s),
                                  .targets_T = targets.view(),
                                  .max_T = max.view(),
                                  .sums_2T = local.view(),
                                  .argmax_T = largest.view()},
                                 *stream),
                IsOk());
    for (int64_t i = 0; i < 2 * rows; ++i) sums[i] += local[i];
    for (int64_t t = 0; t < rows; ++t) argmax[t] = std::min(argmax[t], largest[t]);
  }
  HostTensor<T> loss({rows});
  EXPECT_THAT(CrossEntropyLoss(sums.view(), loss.view(), *stream), IsOk());
  for (int64_t s = 0; s < num_shards; ++s) {
    EXPECT_THAT(CrossEntropyGradient(shard(s), begin(s), targets.view(), max.view(), sums.view(),
                                     weight.view(), *stream),
                IsOk());
  }
  return {loss.values(), logits.values(), argmax};
}

template <typename T>
Result<T> InOnePass(HostTensor<T> logits, int64_t rows, const HostTensor<int32_t>& targets,
                    const HostTensor<T>& weight) {
  StreamWithWorkspace stream;
  HostTensor<T> loss({rows});
  EXPECT_THAT(CrossEntropy({.logits_TV = logits.view(),
                            .targets_T = targets.view(),
                            .weight_T = weight.view(),
                            .loss_T = loss.view()},
                           *stream),
              IsOk());
  return {loss.values(), logits.values()};
}

TEST(CrossEntropyTest, WorkedExampleInShardsOfWhichSomeAreEmpty) {
  const HostTensor<float> logits({2, 6}, {1, 2, 0, -1, 3, .5, 1, 2, 0, -1, 3, .5});
  const HostTensor<int32_t> targets({2}, {4, -100});
  const HostTensor<float> weight({2}, {1, 0});
  const std::vector loss{.5028352, .5028352};
  const std::vector gradient{.0818526, .2224984, .0301119, .0110775, -.3951866, .0496461,
                             0.0,      0.0,      0.0,      0.0,      0.0,       0.0};
  const ErrorSpec spec{.absolute = 1e-6};
  for (const int64_t shards : {1, 2, 3, 4, 5}) {
    const auto result = InShards(logits, 2, 6, shards, targets, weight);
    EXPECT_THAT(result.loss, IsCloseTo(loss, spec)) << shards << " shards";
    EXPECT_THAT(result.gradient, IsCloseTo(gradient, spec)) << shards << " shards";
    EXPECT_THAT(result.argmax, ElementsAre(4, 4)) << shards << " shards";
  }
  const auto result = InOnePass(logits, 2, targets, weight);
  EXPECT_THAT(result.loss, IsCloseTo(loss, spec));
  EXPECT_THAT(result.gradient, IsCloseTo(gradient, spec));
  EXPECT_THAT(std::vector(result.gradient.begin() + 6, result.gradient.end()), Each(0.0f))
      << "a masked row has no gradient at all";
}

class WideVocabularyTest : public ::testing::TestWithParam<double> {};

TEST_P(WideVocabularyTest, FloatFollowsTheDefinitionInDouble) {
  constexpr int64_t kRows = 3, kColumns = 5004;
  std::mt19937_64 generator = FreshGenerator();
  const auto logits = HostTensor<float>::Normal({kRows, kColumns}, generator, GetParam());
  const auto weight = HostTensor<float>::Normal({kRows}, generator);
  const HostTensor<int32_t> targets({kRows}, {0, kColumns - 1, 1234});
  std::vector<double> loss, gradient;
  for (int64_t t = 0; t < kRows; ++t) {
    const float* const x = logits.values().data() + t * kColumns;
    const double maximum = *std::max_element(x, x + kColumns);
    double sum = 0;
    for (int64_t v = 0; v < kColumns; ++v) sum += std::exp(x[v] - maximum);
    loss.push_back(std::log(sum) - (x[targets[t]] - maximum));
    for (int64_t v = 0; v < kColumns; ++v) {
      gradient.push_back(weight[t] * (std::exp(x[v] - maximum) / sum - (v == targets[t])));
    }
  }
  const ErrorSpec spec{.absolute = 1e-6, .relative = 1e-5};
  for (const auto& result : {InOnePass(logits, kRows, targets, weight),
                             InShards(logits, kRows, kColumns, 4, targets, weight)}) {
    EXPECT_THAT(result.loss, IsCloseTo(loss, spec));
    EXPECT_THAT(result.gradient, IsCloseTo(gradient, spec));
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, WideVocabularyTest, ::testing::Values(1.0, 30.0));

TEST(CrossEntropyTest, EvaluationLeavesLogitsAndFindsTheFirstLargest) {
  const HostTensor<double> logits({3, 5}, {0, 4, 1, 4, 2, -1, -2, -3, -4, -5, 7, 7, 7, 7, 8});
  HostTensor<double> same = logits, loss({3});
  const HostTensor<int32_t> targets({3}, {1, 0, 4});
  HostTensor<int32_t> argmax({3});
  StreamWithWorkspace stream;
  ASSERT_THAT(CrossEntropy({.logits_TV = same.view(),
                            .targets_T = targets.view(),
                            .loss_T = loss.view(),
                            .argmax_T = argmax.view()},
                           *stream),
              IsOk());
  EXPECT_EQ(same.values(), logits.values());
  EXPECT_THAT(argmax.values(), ElementsAre(1, 0, 4));
  const HostTensor<double> weight({3}, {1, 1, 1});
  EXPECT_THAT(loss.values(), IsCloseTo(InOnePass(logits, 3, targets, weight).loss,
                                       {.relative = 4 * Epsilon<double>()}));
  // Equal columns of several shards: the lowest of all is the first.
  for (const int64_t shards : {2, 3, 5, 7}) {
    EXPECT_THAT(InShards(logits, 3, 5, shards, targets, weight).argmax, ElementsAre(1, 0, 4))
        << shards << " shards";
  }
}

TEST(CrossEntropyTest, AShardWithoutTheLargestLogitNamesNoColumn) {
  const HostTensor<float> logits({1, 2}, {4, 5}), max({1}, {6});
  const HostTensor<int32_t> targets({1}, {0});
  HostTensor<float> sums({2, 1});
  HostTensor<int32_t> argmax({1});
  StreamWithWorkspace stream;
  for (const int64_t columns : {2, 0}) {
    ASSERT_THAT(CrossEntropySums({.logits_TV = logits.view().Columns(0, columns),
                                  .targets_T = targets.view(),
                                  .max_T = max.view(),
                                  .sums_2T = sums.view(),
                                  .argmax_T = argmax.view()},
                                 *stream),
                IsOk());
    EXPECT_EQ(argmax[0], std::numeric_limits<int32_t>::max());
  }
  EXPECT_THAT(sums.values(), ElementsAre(0, 0));
}

TEST(AddWeightedLossTest, AddsLossesAndWeightsToTheTotals) {
  const HostTensor<float> loss({3}, {1, 2, 1e9f}), weight({3}, {1, 0.5, 0});
  HostTensor<double> totals({2}, {10, 100});
  StreamWithWorkspace stream;
  ASSERT_THAT(AddWeightedLoss(loss.view(), weight.view(), totals.view(), *stream), IsOk());
  EXPECT_THAT(totals.values(), ElementsAre(12, 101.5));
}

TEST(CrossEntropyErrorsTest, NameTheOperand) {
  HostTensor<float> logits({2, 4}), loss({3});
  HostTensor<int32_t> targets({2});
  StreamWithWorkspace stream;
  EXPECT_THAT(
      CrossEntropy({.logits_TV = logits.view(), .targets_T = targets.view(), .loss_T = loss.view()},
                   *stream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("loss is f32[3]")));
}

}  // namespace
}  // namespace hetero
