#include <utility>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// Ranks decide alike whatever they run on: divisions, roots and sums of f64 are all correctly
// rounded, and there is nothing to contract.
TEST(UpdateDecisionCudaTest, EqualsTheCpuToTheBit) {
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  for (const double max_norm : {0.0, 0.3, 1e9}) {
    for (const double tokens : {0.0, 0.375, 1237.0}) {
      for (const auto& [non_finite, fault] : {std::pair(0.0, 0.0), {3.0, 0.0}, {0.0, 2.0}}) {
        const HostTensor<double> statistics({3, 2}, {1.7e3, 0, 0.1, non_finite, 3.3e-7, 0});
        const HostTensor<double> count({1}, {tokens}), faults({1}, {fault});
        HostTensor<double> expected({kNumUpdateDecisions});
        const DeviceTensor gpu_statistics(DType::kF64, statistics, *gpu),
            gpu_count(DType::kF64, count, *gpu), gpu_faults(DType::kF64, faults, *gpu),
            decisions(DType::kF64, {kNumUpdateDecisions}, *gpu);
        ASSERT_THAT(DecideUpdate({.statistics_M2 = statistics.view(),
                                  .tokens_1 = count.view(),
                                  .faults_1 = faults.view(),
                                  .max_norm = max_norm,
                                  .decisions = expected.view()},
                                 *cpu),
                    IsOk());
        ASSERT_THAT(DecideUpdate({.statistics_M2 = gpu_statistics.view(),
                                  .tokens_1 = gpu_count.view(),
                                  .faults_1 = gpu_faults.view(),
                                  .max_norm = max_norm,
                                  .decisions = decisions.view()},
                                 *gpu),
                    IsOk());
        EXPECT_EQ(decisions.Values(), expected.values());
      }
    }
  }
}

}  // namespace
}  // namespace hetero
