#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// Ranks decide alike whatever they run on.
TEST(UpdateDecisionCudaTest, EqualsTheCpuToTheBit) {
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  // Together and alone, with parts of the ranks, all, none, and without a correction.
  const HostTensor<double> statistics(
      {5, kNumModuleStatistics}, {1.7e3, 5, 3, 0.1, 0, 7, 3.3e-7, 1, 0, 77.7, 2, 5, 1.1, 3, 11});
  const HostTensor<double> rules({5, kNumModuleRules}, {0, 7, 0, 7, 0, 7, 0.3, 6, 0, 13});
  const DeviceTensor gpu_statistics(DType::kF64, statistics, *gpu),
      gpu_rules(DType::kF64, rules, *gpu);
  constexpr int64_t kParameters = 20'011;
  for (const double max_norm : {0.0, 0.3, 1e9}) {
    for (const double tokens : {0.0, 0.375, 1237.0}) {
      for (const auto& [bad, fault] : {std::pair(0.0, 0.0), {3.0, 0.0}, {0.0, 2.0}}) {
        HostTensor<double> non_finite({kParameters}, std::vector<double>(kParameters));
        non_finite[kParameters - 1] = bad;
        const HostTensor<double> count({1}, {tokens}), faults({1}, {fault});
        HostTensor<double> expected({5, kNumUpdateDecisions});
        const DeviceTensor gpu_non_finite(DType::kF64, non_finite, *gpu),
            gpu_count(DType::kF64, count, *gpu), gpu_faults(DType::kF64, faults, *gpu),
            decisions(DType::kF64, {5, kNumUpdateDecisions}, *gpu);
        ASSERT_THAT(DecideUpdate({.statistics_MS = statistics.view(),
                                  .non_finite_P = non_finite.view(),
                                  .tokens_1 = count.view(),
                                  .faults_1 = faults.view(),
                                  .rules_M2 = rules.view(),
                                  .max_norm = max_norm,
                                  .decisions_MD = expected.view()},
                                 *cpu),
                    IsOk());
        ASSERT_THAT(DecideUpdate({.statistics_MS = gpu_statistics.view(),
                                  .non_finite_P = gpu_non_finite.view(),
                                  .tokens_1 = gpu_count.view(),
                                  .faults_1 = gpu_faults.view(),
                                  .rules_M2 = gpu_rules.view(),
                                  .max_norm = max_norm,
                                  .decisions_MD = decisions.view()},
                                 *gpu),
                    IsOk());
        EXPECT_EQ(decisions.Values(), expected.values());
      }
    }
  }
}

}  // namespace
}  // namespace hetero
