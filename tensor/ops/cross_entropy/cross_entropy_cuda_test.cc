#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::Each;

// Rows that a block and that a cluster of blocks holds, that are longer, and
// that have no vectors.
constexpr SliceExtents kExtents[] = {{1, 1, 0},    {5, 37, 3},    {384, 512, 0},  {5, 5000, 0},
                                     {9, 4101, 2}, {3, 70008, 8}, {2, 270008, 0}, {0, 16, 0}};

class CrossEntropyCudaTest : public ::testing::TestWithParam<std::tuple<DType, SliceExtents>> {
 protected:
  CrossEntropyCudaTest()
      : dtype_(std::get<0>(GetParam())),
        rows_(std::get<1>(GetParam()).rows),
        columns_(std::get<1>(GetParam()).columns),
        gap_(std::get<1>(GetParam()).gap),
        logits_(NormalFor(dtype_, {rows_, columns_ + gap_}, generator_, 3.0)),
        weight_(NormalFor(DType::kF32, {rows_}, generator_)),
        targets_({rows_}) {
    for (int64_t t = 0; t < rows_; ++t) {
      targets_[t] = t % 3 == 2 ? -100 : static_cast<int32_t>(generator_() % (2 * columns_));
      // Ties for the largest logit.
      if (t % 2 == 1 && columns_ > 1) {
        logits_[t * (columns_ + gap_) + gap_ + columns_ / 2] = 20;
        logits_[t * (columns_ + gap_) + gap_ + columns_ - 1] = 20;
      }
    }
  }

  template <typename View>
  View Slice(const View& view) const {
    return view.Columns(gap_, columns_);
  }
  static std::vector<double> Doubles(const HostTensor<int32_t>& tensor) {
    return {tensor.values().begin(), tensor.values().end()};
  }

  // Sums of exponentials, and of their logarithm and a logit.
  const ErrorSpec loss_tolerance_{.absolute = 32 * Epsilon<float>(),
                                  .relative = 8 * Epsilon<float>()};
  ErrorSpec GradientTolerance() const {
    return {.absolute = 4 * Epsilon<float>(), .relative = Epsilon(dtype_) + 64 * Epsilon<float>()};
  }

  DType dtype_;
  int64_t rows_, columns_, gap_;
  std::mt19937_64 generator_ = FreshGenerator();
  HostTensor<double> logits_;
  HostTensor<double> weight_;
  HostTensor<int32_t> targets_;
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(CrossEntropyCudaTest, EqualsTheCpuAndItself) {
  HostTensor<double> loss({rows_});
  HostTensor<int32_t> argmax({rows_});
  const DeviceTensor gpu_logits(dtype_, logits_, *gpu_), again(dtype_, logits_, *gpu_),
      gpu_targets(DType::kI32, targets_, *gpu_), gpu_weight(DType::kF32, weight_, *gpu_),
      gpu_loss(DType::kF32, {rows_}, *gpu_), loss_again(DType::kF32, {rows_}, *gpu_),
      gpu_argmax(DType::kI32, {rows_}, *gpu_);
  ASSERT_THAT(CrossEntropy({.logits_TV = Slice(gpu_logits.view()),
                            .targets_T = gpu_targets.view(),
                            .loss_T = loss_again.view(),
                            .argmax_T = gpu_argmax.view()},
                           *gpu_),
              IsOk());
  EXPECT_EQ(gpu_logits.Values(), logits_.values());
  const std::vector<double> evaluated = loss_again.Values();
  ASSERT_THAT(CrossEntropy({.logits_TV = Slice(logits_.view()),
                            .targets_T = targets_.view(),
                            .weight_T = weight_.view(),
                            .loss_T = loss.view(),
                            .argmax_T = argmax.view()},
                           *cpu_),
              IsOk());
  EXPECT_THAT(evaluated, IsCloseTo(loss.values(), loss_tolerance_));
  EXPECT_EQ(gpu_argmax.Values(), Doubles(argmax));
  // With the choices beside a gradient, and without.
  bool chooses = true;
  for (const auto& [logits, gpu_loss_view] : {std::pair(gpu_logits.view(), gpu_loss.view()),
                                              std::pair(again.view(), loss_again.view())}) {
    ASSERT_THAT(CrossEntropy({.logits_TV = Slice(logits),
                              .targets_T = gpu_targets.view(),
                              .weight_T = gpu_weight.view(),
                              .loss_T = gpu_loss_view,
                              .argmax_T = chooses ? gpu_argmax.view() : TensorView()},
                             *gpu_),
                IsOk());
    chooses = false;
  }
  EXPECT_EQ(gpu_argmax.Values(), Doubles(argmax));
  EXPECT_EQ(gpu_loss.Values(), evaluated);
  EXPECT_THAT(gpu_logits.Values(), IsCloseTo(logits_.values(), GradientTolerance()));
  EXPECT_EQ(gpu_logits.Bits(), again.Bits());
  EXPECT_EQ(gpu_loss.Bits(), loss_again.Bits());
}

TEST_P(CrossEntropyCudaTest, PiecesOfAShardEqualTheCpu) {
  const int64_t first_column = columns_;
  HostTensor<double> max({rows_}), sums({2, rows_}), loss({rows_});
  HostTensor<int32_t> argmax({rows_});
  const DeviceTensor gpu_logits(dtype_, logits_, *gpu_), gpu_targets(DType::kI32, targets_, *gpu_),
      gpu_weight(DType::kF32, weight_, *gpu_), gpu_max(DType::kF32, {rows_}, *gpu_),
      gpu_sums(DType::kF32, {2, rows_}, *gpu_), gpu_loss(DType::kF32, {rows_}, *gpu_),
      gpu_argmax(DType::kI32, {rows_}, *gpu_);
  ASSERT_THAT(CrossEntropyMaximum(Slice(logits_.view()), max.view(), *cpu_), IsOk());
  ASSERT_THAT(CrossEntropyMaximum(Slice(gpu_logits.view()), gpu_max.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_max.Values(), max.values());
  // Of every third row another shard has the largest logit.
  for (int64_t t = 0; t < rows_; t += 3) max[t] += 1;
  const DeviceTensor gpu_largest(DType::kF32, max, *gpu_);
  CrossEntropySumsArgs args = {.logits_TV = Slice(logits_.view()),
                               .first_column = first_column,
                               .targets_T = targets_.view(),
                               .max_T = max.view(),
                               .sums_2T = sums.view(),
                               .argmax_T = argmax.view()};
  ASSERT_THAT(CrossEntropySums(args, *cpu_), IsOk());
  args.logits_TV = Slice(gpu_logits.view());
  args.targets_T = gpu_targets.view();
  args.max_T = gpu_largest.view();
  args.sums_2T = gpu_sums.view();
  args.argmax_T = gpu_argmax.view();
  ASSERT_THAT(CrossEntropySums(args, *gpu_), IsOk());
  EXPECT_EQ(gpu_argmax.Values(), Doubles(argmax));
  EXPECT_THAT(gpu_sums.Values(), IsCloseTo(sums.values(), {.absolute = 4 * Epsilon<float>(),
                                                           .relative = 32 * Epsilon<float>()}));
  ASSERT_THAT(CrossEntropyLoss(sums.view(), loss.view(), *cpu_), IsOk());
  ASSERT_THAT(CrossEntropyLoss(gpu_sums.view(), gpu_loss.view(), *gpu_), IsOk());
  EXPECT_THAT(gpu_loss.Values(), IsCloseTo(loss.values(), loss_tolerance_));
  ASSERT_THAT(CrossEntropyGradient(Slice(logits_.view()), first_column, targets_.view(), max.view(),
                                   sums.view(), weight_.view(), *cpu_),
              IsOk());
  ASSERT_THAT(CrossEntropyGradient(Slice(gpu_logits.view()), first_column, gpu_targets.view(),
                                   gpu_largest.view(), gpu_sums.view(), gpu_weight.view(), *gpu_),
              IsOk());
  EXPECT_THAT(gpu_logits.Values(), IsCloseTo(logits_.values(), GradientTolerance()));
}

INSTANTIATE_TEST_SUITE_P(Extents, CrossEntropyCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

// Rows as the output layer has them: padded to whole vectors, of which the last
// is not full.
TEST(CrossEntropyCudaTest, ColumnsAfterTheLastVectorAreLeftAlone) {
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t columns : {5, 4093, 40001, 270001}) {
      std::mt19937_64 generator = FreshGenerator();
      const int64_t rows = 3, width = (columns + 7) / 8 * 8;
      auto logits = NormalFor(dtype, {rows, width}, generator, 3.0);
      const HostTensor<double> weight({rows}, {1.5, -0.5, 2});
      const HostTensor<int32_t> targets(
          {rows}, {0, static_cast<int32_t>(columns - 1), static_cast<int32_t>(columns)});
      HostTensor<double> loss({rows});
      HostTensor<int32_t> argmax({rows});
      const DeviceTensor gpu_logits(dtype, logits, *gpu), gpu_targets(DType::kI32, targets, *gpu),
          gpu_weight(DType::kF32, weight, *gpu), gpu_loss(DType::kF32, {rows}, *gpu),
          gpu_argmax(DType::kI32, {rows}, *gpu);
      ASSERT_THAT(CrossEntropy({.logits_TV = logits.view().Columns(0, columns),
                                .targets_T = targets.view(),
                                .weight_T = weight.view(),
                                .loss_T = loss.view(),
                                .argmax_T = argmax.view()},
                               *cpu),
                  IsOk());
      ASSERT_THAT(CrossEntropy({.logits_TV = gpu_logits.view().Columns(0, columns),
                                .targets_T = gpu_targets.view(),
                                .weight_T = gpu_weight.view(),
                                .loss_T = gpu_loss.view(),
                                .argmax_T = gpu_argmax.view()},
                               *gpu),
                  IsOk());
      EXPECT_THAT(gpu_loss.Values(), IsCloseTo(loss.values(), {.absolute = 32 * Epsilon<float>(),
                                                               .relative = 8 * Epsilon<float>()}));
      EXPECT_THAT(gpu_logits.Values(),
                  IsCloseTo(logits.values(), {.absolute = 4 * Epsilon<float>(),
                                              .relative = Epsilon(dtype) + 64 * Epsilon<float>()}));
      EXPECT_THAT(gpu_argmax.Values(), ::testing::ElementsAre(argmax[0], argmax[1], argmax[2]));
    }
  }
}

TEST(CrossEntropyCudaTest, ANanAnywhereIsALossOfNanAndMinusInfinityIsNone) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t columns : {37, 64, 5000, 40000, 270008}) {
    // Leading, trailing, single and only NaNs; then leading -inf before small
    // logits.
    constexpr int64_t kRows = 5;
    HostTensor<double> logits({kRows, columns});
    std::mt19937_64 generator = FreshGenerator();
    for (int64_t v = 0; v < columns; ++v) {
      for (int64_t t = 0; t < kRows; ++t) logits[t * columns + v] = generator() % 8 * 0.5;
      if (v < 8) logits[v] = kNan;
      if (v + 1 == columns) logits[columns + v] = kNan;
      if (v == columns / 2) logits[2 * columns + v] = kNan;
      logits[3 * columns + v] = kNan;
      logits[4 * columns + v] = v < 16 ? -kInfinity : -200;
    }
    const HostTensor<int32_t> targets({kRows}, {20, 20, 20, 20, 20});
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const DeviceTensor gpu_logits(dtype, logits, *gpu), gpu_targets(DType::kI32, targets, *gpu),
          gpu_loss(DType::kF32, {kRows}, *gpu);
      ASSERT_THAT(CrossEntropy({.logits_TV = gpu_logits.view(),
                                .targets_T = gpu_targets.view(),
                                .loss_T = gpu_loss.view()},
                               *gpu),
                  IsOk());
      const std::vector<double> values = gpu_loss.Values();
      for (int64_t t = 0; t < 4; ++t) EXPECT_TRUE(std::isnan(values[t])) << t;
      EXPECT_NEAR(values[4], std::log(static_cast<double>(columns - 16)), 1e-5);
    }
  }
}

TEST(CrossEntropyCudaTest, AShardWithoutColumnsAddsNothing) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const HostTensor<double> logits({2, 8}, std::vector<double>(16, 3.0)), ones({2}, {1, 1}),
      sevens({2, 2}, {7, 7, 7, 7});
  const HostTensor<int32_t> targets({2}, {0, 3});
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const DeviceTensor gpu_logits(dtype, logits, *gpu), gpu_targets(DType::kI32, targets, *gpu),
        max(DType::kF32, ones, *gpu), sums(DType::kF32, sevens, *gpu),
        argmax(DType::kI32, targets, *gpu), weight(DType::kF32, ones, *gpu);
    const TensorView none = gpu_logits.view().Columns(0, 0);
    ASSERT_THAT(CrossEntropyMaximum(none, max.view(), *gpu), IsOk());
    EXPECT_THAT(max.Values(), Each(-std::numeric_limits<double>::infinity()));
    ASSERT_THAT(CrossEntropySums({.logits_TV = none,
                                  .targets_T = gpu_targets.view(),
                                  .max_T = weight.view(),
                                  .sums_2T = sums.view(),
                                  .argmax_T = argmax.view()},
                                 *gpu),
                IsOk());
    EXPECT_THAT(sums.Values(), Each(0));
    EXPECT_THAT(argmax.Values(), Each(std::numeric_limits<int32_t>::max()));
    ASSERT_THAT(CrossEntropyGradient(none, 0, gpu_targets.view(), weight.view(), sums.view(),
                                     weight.view(), *gpu),
                IsOk());
    EXPECT_EQ(gpu_logits.Values(), logits.values());
  }
}

TEST(CrossEntropyCudaTest, WeightedLossAndWeightAreAddedToTheTotals) {
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  for (const int64_t rows : {0, 1, 5003}) {
    std::mt19937_64 generator = FreshGenerator();
    const auto loss = NormalFor(DType::kF32, {rows}, generator);
    const auto weight = NormalFor(DType::kF32, {rows}, generator);
    HostTensor<double> totals({2}, {3.5, 1});
    const DeviceTensor gpu_loss(DType::kF32, loss, *gpu), gpu_weight(DType::kF32, weight, *gpu),
        gpu_totals(DType::kF64, totals, *gpu);
    ASSERT_THAT(AddWeightedLoss(loss.view(), weight.view(), totals.view(), *cpu), IsOk());
    ASSERT_THAT(AddWeightedLoss(gpu_loss.view(), gpu_weight.view(), gpu_totals.view(), *gpu),
                IsOk());
    EXPECT_THAT(gpu_totals.Values(), IsCloseTo(totals.values(), {.absolute = 1e-11}));
  }
}

}  // namespace
}  // namespace hetero
