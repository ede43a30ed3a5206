#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/tensor/ops/check_indices/check_indices.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

TEST(CheckIndicesCudaTest, AddsTheNumberOutside) {
  for (const int64_t count : {0, 1, 5000}) {
    std::mt19937_64 generator = FreshGenerator();
    HostTensor<int32_t> indices({count});
    HostTensor<double> weight({count});
    double outside = 0;
    double outside_with_weight = 0;
    for (int64_t n = 0; n < count; ++n) {
      indices[n] = static_cast<int32_t>(generator() % 700) - 50;
      weight[n] = static_cast<double>(generator() % 2);
      if (indices[n] >= 0 && indices[n] < 512) continue;
      outside += 1;
      outside_with_weight += weight[n];
    }
    StreamWithWorkspace gpu(DeviceKind::kCuda);
    const HostTensor<int64_t> before({1}, {10});
    const DeviceTensor gpu_indices(DType::kI32, indices, *gpu),
        gpu_weight(DType::kF32, weight, *gpu), all(DType::kI64, before, *gpu),
        weighted(DType::kI64, before, *gpu);
    CheckIndicesArgs args{
        .what = "token id", .indices_N = gpu_indices.view(), .limit = 512, .outside_1 = all.view()};
    ASSERT_THAT(CheckIndices(args, *gpu), IsOk());
    args.weight_N = gpu_weight.view();
    args.outside_1 = weighted.view();
    ASSERT_THAT(CheckIndices(args, *gpu), IsOk());
    EXPECT_THAT(all.Values(), ElementsAre(10 + outside));
    EXPECT_THAT(weighted.Values(), ElementsAre(10 + outside_with_weight));
    args.outside_1 = {};
    EXPECT_THAT(CheckIndices(args, *gpu), IsOk());
  }
}

}  // namespace
}  // namespace hetero
