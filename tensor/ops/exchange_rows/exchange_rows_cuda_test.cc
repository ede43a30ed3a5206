#include <algorithm>
#include <cstdint>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

std::vector<double> Doubles(const HostTensor<int32_t>& tensor) {
  return {tensor.values().begin(), tensor.values().end()};
}

class ExchangeRowsCudaTest
    : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {};

// Sources x experts of a rank x first row.
TEST_P(ExchangeRowsCudaTest, SortsAsTheCpu) {
  const auto [num_sources, num_experts, first] = GetParam();
  std::mt19937_64 random = FreshGenerator();
  HostTensor<int32_t> table({num_sources, num_experts});
  int64_t total = 0;
  for (int32_t& count : table.values()) total += count = static_cast<int32_t>(random() % 700);
  const int64_t num_rows = std::max<int64_t>(0, std::min<int64_t>(5000, total - first));
  HostTensor<int32_t> offsets({num_experts + 1}), received({num_rows}), sorted({num_rows}),
      scratch({2, num_sources * num_experts});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_table(DType::kI32, table, *gpu),
      gpu_offsets(DType::kI32, {num_experts + 1}, *gpu),
      gpu_received(DType::kI32, {num_rows}, *gpu), gpu_sorted(DType::kI32, {num_rows}, *gpu),
      gpu_scratch(DType::kI32, {2, num_sources * num_experts}, *gpu);
  ASSERT_THAT(SortReceivedRows({table.view(), first, offsets.view(), received.view(), sorted.view(),
                                scratch.view()},
                               *cpu),
              IsOk());
  ASSERT_THAT(SortReceivedRows({gpu_table.view(), first, gpu_offsets.view(), gpu_received.view(),
                                gpu_sorted.view(), gpu_scratch.view()},
                               *gpu),
              IsOk());
  EXPECT_EQ(gpu_offsets.Values(), Doubles(offsets));
  EXPECT_EQ(gpu_received.Values(), Doubles(received));
  EXPECT_EQ(gpu_sorted.Values(), Doubles(sorted));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExchangeRowsCudaTest,
                         ::testing::Values(std::tuple{2, 64, 0}, std::tuple{8, 16, 3000},
                                           std::tuple{4, 300, 17}, std::tuple{1, 1, 0}));

TEST(SpreadChoicesCudaTest, EqualsTheCpu) {
  std::mt19937_64 random = FreshGenerator();
  const HostTensor<int32_t> counts({12}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  HostTensor<int32_t> experts({301, 3}), numbers({301, 6}), spread({24});
  for (int32_t& expert : experts.values()) expert = static_cast<int32_t>(random() % 13) - 1;
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_experts(DType::kI32, experts, *gpu), gpu_counts(DType::kI32, counts, *gpu),
      gpu_numbers(DType::kI32, {301, 6}, *gpu), gpu_spread(DType::kI32, {24}, *gpu);
  ASSERT_THAT(
      SpreadChoices({experts.view(), counts.view(), 4, numbers.view(), spread.view()}, *cpu),
      IsOk());
  ASSERT_THAT(
      SpreadChoices(
          {gpu_experts.view(), gpu_counts.view(), 4, gpu_numbers.view(), gpu_spread.view()}, *gpu),
      IsOk());
  EXPECT_EQ(gpu_numbers.Values(), Doubles(numbers));
  EXPECT_EQ(gpu_spread.Values(), Doubles(spread));
}

}  // namespace
}  // namespace hetero
