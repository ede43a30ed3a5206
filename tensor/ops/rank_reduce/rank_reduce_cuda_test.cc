#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/rank_reduce/rank_reduce.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

class RankReduceCudaTest
    : public ::testing::TestWithParam<std::tuple<DType, ReduceOp, int, int64_t>> {};

// All of the CPU's types but bf16 have the CPU's bits; bf16 is summed in f32.
TEST_P(RankReduceCudaTest, EqualsTheCpuInPlaceAndApart) {
  const auto [dtype, op, num_ranks, n] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  std::deque<DeviceTensor> gpu_ranks;
  std::vector<std::vector<double>> ranks;
  std::vector<ConstTensorView> inputs;
  for (int rank = 0; rank < num_ranks; ++rank) {
    auto values = NormalFor(dtype == DType::kF64 ? DType::kF32 : dtype, {n}, generator, 1000);
    if (!IsFloating(dtype)) {
      for (double& value : values.values()) value = std::trunc(value);
    } else if (op != ReduceOp::kSum && n > 3) {
      values[rank % 3] = std::numeric_limits<double>::quiet_NaN();
    }
    ranks.push_back(values.values());
    inputs.push_back(gpu_ranks.emplace_back(dtype, values, *gpu).view());
  }
  std::vector<double> expected = ranks[0];
  for (int rank = 1; rank < num_ranks; ++rank) {
    for (int64_t i = 0; i < n; ++i) {
      const double a = expected[i], b = ranks[rank][i];
      if (op == ReduceOp::kSum) {
        expected[i] =
            dtype == DType::kF32 || dtype == DType::kBF16 ? static_cast<float>(a + b) : a + b;
      } else {
        expected[i] = a != a                 ? a
                      : b != b               ? b
                      : op == ReduceOp::kMax ? std::max(a, b)
                                             : std::min(a, b);
      }
    }
  }
  if (dtype == DType::kBF16) {
    for (double& value : expected) value = static_cast<float>(BFloat16(static_cast<float>(value)));
  }
  const DeviceTensor apart(dtype, {n}, *gpu);
  const TensorView outputs[] = {apart.view(), gpu_ranks.back().view()};
  ASSERT_THAT(RankReduce(inputs, outputs, op, *gpu), IsOk());
  EXPECT_THAT(apart.Values(), ::testing::Pointwise(::testing::NanSensitiveDoubleEq(), expected));
  EXPECT_EQ(apart.Bits(), gpu_ranks.back().Bits());
}

INSTANTIATE_TEST_SUITE_P(
    Types, RankReduceCudaTest,
    ::testing::Combine(::testing::Values(DType::kF64, DType::kF32, DType::kBF16, DType::kI32,
                                         DType::kI64),
                       ::testing::Values(ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin),
                       ::testing::Values(1, 2, 5), ::testing::Values(1, 4096, 5003)));

TEST(RankReduceCudaTest, NamesTheMostItTakes) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor x(DType::kF32, {4}, *gpu);
  const std::vector<ConstTensorView> inputs(129, x.view());
  EXPECT_THAT(RankReduce(inputs, {}, ReduceOp::kSum, *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("up to 128")));
}

}  // namespace
}  // namespace hetero
