#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"

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
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kParameters = 5;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Statistics {
  std::vector<double> totals;
  std::vector<double> non_finite;

  bool operator==(const Statistics&) const = default;
};

// What is added to totals of 1 and counts of 2.
template <typename T>
Statistics StatisticsOf(const HostTensor<T>& gradient, const std::vector<StatisticsRange>& ranges) {
  HostTensor<double> totals({2}, {1, 1});
  HostTensor<double> non_finite({kParameters}, std::vector<double>(kParameters, 2));
  StreamWithWorkspace stream;
  EXPECT_THAT(GradientStatistics({.gradient_N = gradient.view(),
                                  .ranges = ranges,
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *stream),
              IsOk());
  return {totals.values(), non_finite.values()};
}

template <typename T>
Statistics NaiveStatisticsOf(const HostTensor<T>& gradient,
                             const std::vector<StatisticsRange>& ranges) {
  Statistics naive = {{1, 1}, std::vector<double>(kParameters, 2)};
  for (const StatisticsRange& range : ranges) {
    for (int64_t i = range.begin; i < range.begin + range.count; ++i) {
      const double value = gradient[i];
      if (std::isfinite(value)) {
        naive.totals[0] += value * value;
      } else {
        naive.non_finite[range.parameter] += 1;
      }
      if (value == 0) naive.totals[1] += 1;
    }
  }
  return naive;
}

template <typename T>
class GradientStatisticsTypeTest : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GradientStatisticsTypeTest, Types);

TYPED_TEST(GradientStatisticsTypeTest, EqualsTheNaiveLoopWhereverRangesBeginAndEnd) {
  std::mt19937_64 generator = FreshGenerator();
  constexpr int64_t kCount = 1500;
  auto gradient = HostTensor<TypeParam>::Normal({kCount}, generator, 1e15);
  for (int64_t i = 0; i < kCount; i += 7) gradient[i] = i % 2 == 0 ? 0.0 : -0.0;
  // At the first and the last element of ranges, beside them, and where vectors end.
  for (const int64_t i : {2, 18, 19, 35, 36, 499, 500, 1031, 1032, 1499}) {
    gradient[i] = i % 3 == 0 ? std::nan("") : (i % 3 == 1 ? kInfinity : -kInfinity);
  }
  for (const std::vector<StatisticsRange>& ranges : std::vector<std::vector<StatisticsRange>>{
           {},
           {{0, 0, 0}, {700, 0, 4}, {1500, 0, 1}},
           {{0, kCount, 3}},
           {{0, 1, 0}, {2, 17, 1}, {19, 1, 2}, {20, 16, 3}, {36, 464, 4}, {500, 999, 0}},
           {{3, 15, 4}, {36, 0, 2}, {37, 463, 2}, {501, 530, 4}, {1032, 468, 0}}}) {
    const Statistics statistics = StatisticsOf(gradient, ranges);
    const Statistics naive = NaiveStatisticsOf(gradient, ranges);
    EXPECT_THAT(statistics.totals, IsCloseTo(naive.totals, {.relative = 1e-13}));
    EXPECT_EQ(statistics.totals[1], naive.totals[1]);
    EXPECT_EQ(statistics.non_finite, naive.non_finite);
    EXPECT_EQ(statistics, StatisticsOf(gradient, ranges));
  }
}

// Squares of f32 leave its range, and are not rounded to it.
TEST(GradientStatisticsTest, SquaresAreDoubles) {
  const HostTensor<float> gradient({3}, {1e30f, 1e-30f, 1});
  EXPECT_THAT(StatisticsOf(gradient, {{1, 2, 0}}).totals, ElementsAre(2.0, 1.0));
  EXPECT_THAT(StatisticsOf(gradient, {{0, 1, 0}}).totals,
              ElementsAre(static_cast<double>(1e30f) * 1e30f + 1, 1.0));
}

TEST(GradientStatisticsTest, TheOrderOfTheSumIsTheSameAtEveryAddress) {
  std::mt19937_64 generator = FreshGenerator();
  const auto padded = HostTensor<float>::Normal({1003}, generator);
  std::vector<double> squares;
  for (int64_t shift = 0; shift < 8; ++shift) {
    HostTensor<float> shifted({1003 + shift});
    std::copy(padded.values().begin(), padded.values().end(), shifted.values().begin() + shift);
    HostTensor<double> totals({2}, {0, 0}), non_finite({1}, {0});
    StreamWithWorkspace stream;
    const StatisticsRange ranges[] = {{1, 400, 0}, {403, 600, 0}};
    ASSERT_THAT(GradientStatistics({.gradient_N = shifted.view().Rows(shift, 1003),
                                    .ranges = ranges,
                                    .totals_2 = totals.view(),
                                    .non_finite_P = non_finite.view()},
                                   *stream),
                IsOk());
    squares.push_back(totals[0]);
  }
  EXPECT_THAT(squares, ::testing::Each(squares[0]));
}

// A GPU's blocks cover all vectors that have elements of a range, and are few.
TEST(StatisticsCutTest, BlocksCoverTheRanges) {
  using internal::StatisticsCut;
  EXPECT_EQ(StatisticsCut::Of({}).num_blocks, 0);
  EXPECT_EQ(StatisticsCut::NumVectors({3, 0, 0}), 0);
  EXPECT_EQ(StatisticsCut::NumVectors({3, 1, 0}), 1);
  EXPECT_EQ(StatisticsCut::NumVectors({3, 2, 0}), 2);
  EXPECT_EQ(StatisticsCut::NumVectors({4, 4, 0}), 1);
  const std::vector<StatisticsRange> ranges = {{1, 4096, 0}, {5000, 0, 0}, {5001, 1, 1}};
  EXPECT_EQ(StatisticsCut::Of(ranges).vectors_per_block, 1024);
  EXPECT_EQ(StatisticsCut::Of(ranges).num_blocks, 2 + 0 + 1);
  const std::vector<StatisticsRange> large = {{0, int64_t{1} << 34, 0}, {int64_t{1} << 34, 5, 1}};
  const StatisticsCut cut = StatisticsCut::Of(large);
  EXPECT_LE(cut.num_blocks, 4096 + 2);
  EXPECT_GE(cut.num_blocks * cut.vectors_per_block * internal::kStatisticsWidth,
            (int64_t{1} << 34) + 5);
}

absl::Status Check(const GradientStatisticsArgs& args) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  return GradientStatistics(args, *stream);
}

TEST(GradientStatisticsTest, RefusesOperandsAndRangesByName) {
  HostTensor<float> gradient({8}), matrix({2, 4});
  HostTensor<int64_t> integers({8});
  HostTensor<double> totals({2}), three({3}), non_finite({2});
  const auto refused = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  const auto with = [&](const ConstTensorView& g, const TensorView& t, const TensorView& p) {
    return Check({.gradient_N = g, .totals_2 = t, .non_finite_P = p});
  };
  EXPECT_THAT(with(matrix.view(), totals.view(), non_finite.view()),
              refused("gradient is f32[2,4]"));
  EXPECT_THAT(with(gradient.view(), three.view(), non_finite.view()), refused("totals is f64[3]"));
  EXPECT_THAT(with(gradient.view(), totals.view(), gradient.view()),
              refused("non-finite is f32[8]"));
  const auto of = [&](std::vector<StatisticsRange> ranges) {
    return Check({.gradient_N = gradient.view(),
                  .ranges = ranges,
                  .totals_2 = totals.view(),
                  .non_finite_P = non_finite.view()});
  };
  EXPECT_THAT(of({{0, 9, 0}}), refused("range [0, 9) does not ascend inside [0, 8)"));
  EXPECT_THAT(of({{-1, 2, 0}}), refused("range [-1, 1) does not ascend"));
  EXPECT_THAT(of({{0, -1, 0}}), refused("range [0, -1) does not ascend"));
  EXPECT_THAT(of({{0, 5, 0}, {4, 1, 0}}), refused("the one before ends at 5"));
  EXPECT_THAT(of({{0, 5, 2}}), refused("range [0, 5) is of parameter 2; expected one in [0, 2)"));
  EXPECT_THAT(of({{0, 5, -1}}), refused("is of parameter -1"));
  EXPECT_THAT(of({{0, 5, 1}, {5, 3, 1}}), IsOk());

  StreamWithWorkspace cpu;
  EXPECT_THAT(GradientStatistics({.gradient_N = integers.view(),
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *cpu),
              refused("the cpu computes in f32 and f64"));
}

TEST(GradientStatisticsTest, CountsWhatItReadsAndTouchesNothingOnTheShapeOnlyDevice) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const auto nowhere = [](DType dtype, int64_t n) {
    return TensorView(reinterpret_cast<void*>(kShapeOnlyAddress), dtype, {n});
  };
  const StatisticsRange ranges[] = {{10, 100, 0}, {500, 150, 1}};
  ASSERT_THAT(GradientStatistics({.gradient_N = nowhere(DType::kF32, 1000),
                                  .ranges = ranges,
                                  .totals_2 = nowhere(DType::kF64, 2),
                                  .non_finite_P = nowhere(DType::kF64, 2)},
                                 *stream),
              IsOk());
  EXPECT_EQ(stream->ledger().operations().at("gradient_statistics").bytes, 1000);
}

}  // namespace
}  // namespace hetero
