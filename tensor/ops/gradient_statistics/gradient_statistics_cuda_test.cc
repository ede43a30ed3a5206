#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(GradientStatisticsCudaTest, EqualsTheCpuAndItselfAtEveryAddress) {
  constexpr int64_t kParameters = 7;
  std::vector<StatisticsRange> ranges = {{0, 1, 3}, {2, 5, 6}, {7, 9001, 2}, {9010, 0, 1}};
  // More than two launches take, of odd extents, with gaps.
  for (int64_t i = 0, begin = 9011; i < 2500; ++i, begin += 37) {
    ranges.push_back({begin, i % 38, i % kParameters});
  }
  const int64_t n = 9011 + 2500 * 37;
  std::mt19937_64 generator = FreshGenerator();
  auto gradient = HostTensor<float>::Normal({n}, generator, 1e15);
  for (int64_t i = 0; i < n; i += 11) gradient[i] = i % 2 == 0 ? 0.0f : -0.0f;
  // First and last elements of ranges, and what lies beside them.
  for (const int64_t i : {0, 1, 2, 6, 7, 9007, 9008, 9048, 9084, 9085}) {
    gradient[i] = i % 3 == 0 ? kNan : (i % 3 == 1 ? kInfinity : -kInfinity);
  }
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const HostTensor<double> one({2}, {1, 1}),
      two({kParameters}, std::vector<double>(kParameters, 2));
  HostTensor<double> totals = one, non_finite = two;
  ASSERT_THAT(GradientStatistics({.gradient_N = gradient.view(),
                                  .ranges = ranges,
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *cpu),
              IsOk());
  std::vector<std::vector<uint8_t>> bits;
  // Where 16-byte accesses may start, and where not; the first once more.
  for (const int64_t offset : {0, 4, 1, 0}) {
    HostTensor<float> padded({n + offset});
    std::copy(gradient.values().begin(), gradient.values().end(), padded.values().begin() + offset);
    const DeviceTensor gpu_gradient(DType::kF32, padded, *gpu), gpu_totals(DType::kF64, one, *gpu),
        gpu_non_finite(DType::kF64, two, *gpu);
    ASSERT_THAT(GradientStatistics({.gradient_N = gpu_gradient.view().Rows(offset, n),
                                    .ranges = ranges,
                                    .totals_2 = gpu_totals.view(),
                                    .non_finite_P = gpu_non_finite.view()},
                                   *gpu),
                IsOk());
    EXPECT_THAT(gpu_totals.Values(), IsCloseTo(totals.values(), {.relative = 1e-13}));
    EXPECT_EQ(gpu_totals.Values()[1], totals[1]);
    EXPECT_EQ(gpu_non_finite.Values(), non_finite.values());
    bits.push_back(gpu_totals.Bits());
  }
  EXPECT_THAT(bits, ::testing::Each(bits[0]));
}

// So many elements that a block takes several turns. All sums are exact.
TEST(GradientStatisticsCudaTest, LongRangesAreCountedToTheElement) {
  constexpr int64_t kCount = 20'000'003, kMiddle = 12'345'677;
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor gradient(DType::kF32, {kCount}, *gpu);
  ASSERT_THAT(Fill(0.5, gradient.view(), *gpu), IsOk());
  for (const int64_t i : {int64_t{1}, kMiddle - 1, kMiddle, kCount - 1}) {
    const std::vector<double> value = {i == kMiddle ? kInfinity : kNan};
    SetElements(gradient.view().Rows(i, 1), value, *gpu);
  }
  for (const int64_t i : {int64_t{0}, int64_t{2}, int64_t{5'000'000}, kCount - 2}) {
    ASSERT_THAT(Fill(0, gradient.view().Rows(i, 1), *gpu), IsOk());
  }
  const StatisticsRange ranges[] = {{1, kMiddle - 1, 2}, {kMiddle, kCount - kMiddle, 0}};
  ASSERT_GT(internal::StatisticsCut::Of(ranges).vectors_per_block, 1024);
  const DeviceTensor totals(DType::kF64, HostTensor<double>({2}, {0, 0}), *gpu),
      non_finite(DType::kF64, HostTensor<double>({3}, {0, 0, 0}), *gpu);
  ASSERT_THAT(GradientStatistics({.gradient_N = gradient.view(),
                                  .ranges = ranges,
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *gpu),
              IsOk());
  EXPECT_THAT(totals.Values(), ElementsAre(0.25 * (kCount - 1 - 4 - 3), 3.0));
  EXPECT_THAT(non_finite.Values(), ElementsAre(2.0, 0.0, 2.0));
}

TEST(GradientStatisticsCudaTest, NothingToReadChangesNothing) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor gradient(DType::kF32, {8}, *gpu),
      totals(DType::kF64, HostTensor<double>({2}, {3, 4}), *gpu),
      non_finite(DType::kF64, HostTensor<double>({1}, {5}), *gpu);
  const StatisticsRange empty[] = {{4, 0, 0}};
  ASSERT_THAT(GradientStatistics({.gradient_N = gradient.view(),
                                  .ranges = empty,
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *gpu),
              IsOk());
  EXPECT_THAT(totals.Values(), ElementsAre(3.0, 4.0));
  EXPECT_THAT(non_finite.Values(), ElementsAre(5.0));
}

TEST(GradientStatisticsCudaTest, TakesGradientsInF32Only) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor gradient(DType::kBF16, {8}, *gpu), totals(DType::kF64, {2}, *gpu),
      non_finite(DType::kF64, {1}, *gpu);
  EXPECT_THAT(GradientStatistics({.gradient_N = gradient.view(),
                                  .totals_2 = totals.view(),
                                  .non_finite_P = non_finite.view()},
                                 *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("gradient is bf16[8]; expected f32")));
}

}  // namespace
}  // namespace hetero
