#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/exact_match/exact_match.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

class ExactMatchCudaTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(ExactMatchCudaTest, EqualsTheCpu) {
  constexpr int64_t kRows = 70;
  const int64_t row_length = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  std::vector<int32_t> positions, targets, predicted;
  for (int64_t p = 0; p < kRows * row_length; ++p) {
    if (generator() % 4 == 0 || p / row_length == 5) continue;
    positions.push_back(static_cast<int32_t>(p));
    targets.push_back(static_cast<int32_t>(generator() % 100));
    predicted.push_back(targets.back() + (generator() % row_length == 0 ? 1 : 0));
  }
  const int64_t n = static_cast<int64_t>(positions.size());
  const HostTensor<int32_t> position_tensor({n}, positions), target_tensor({n}, targets),
      predicted_tensor({n}, predicted);
  HostTensor<int64_t> counts({2}, {10, 20});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_positions(DType::kI32, position_tensor, *gpu),
      gpu_targets(DType::kI32, target_tensor, *gpu),
      gpu_predicted(DType::kI32, predicted_tensor, *gpu), gpu_counts(DType::kI64, counts, *gpu);
  ASSERT_THAT(CountExactMatches({predicted_tensor.view(), target_tensor.view(),
                                 position_tensor.view(), row_length, counts.view()},
                                *cpu),
              IsOk());
  ASSERT_THAT(CountExactMatches({gpu_predicted.view(), gpu_targets.view(), gpu_positions.view(),
                                 row_length, gpu_counts.view()},
                                *gpu),
              IsOk());
  EXPECT_THAT(gpu_counts.Values(), ::testing::ElementsAre(counts[0], counts[1]));
}

INSTANTIATE_TEST_SUITE_P(RowLengths, ExactMatchCudaTest, ::testing::Values(2, 48, 333));

}  // namespace
}  // namespace hetero
