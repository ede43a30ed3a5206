#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kEpsilon = 1e-8;

// `offset` makes the vectors start where 16-byte accesses do not.
class AdamWCudaTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(AdamWCudaTest, StepsEqualTheCpuAndThemselvesAndKeepTheGaps) {
  const int64_t offset = GetParam();
  std::vector<AdamWSegment> segments = {{0, 1, 0}, {2, 5, 0.3}, {7, 9001, 0.1}, {9010, 0, 0}};
  // More than one launch takes, of odd extents, with gaps.
  for (int64_t i = 0, begin = 9011; i < 300; ++i, begin += 37) {
    segments.push_back({begin, 1 + i % 36, 0.01 * static_cast<double>(i % 3)});
  }
  const int64_t n = 9011 + 300 * 37;
  std::mt19937_64 generator = FreshGenerator();
  auto parameter = NormalFor(DType::kF32, {n}, generator);
  HostTensor<double> first({n}, std::vector<double>(n)), second({n}, std::vector<double>(n));
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const auto padded = [&](const HostTensor<double>& values) {
    HostTensor<double> result({n + offset});
    std::copy(values.values().begin(), values.values().end(), result.values().begin() + offset);
    return result;
  };
  const DeviceTensor gpu_parameter(DType::kF32, padded(parameter), *gpu),
      gpu_first(DType::kF32, padded(first), *gpu), gpu_second(DType::kF32, padded(second), *gpu),
      again_parameter(DType::kF32, padded(parameter), *gpu),
      again_first(DType::kF32, padded(first), *gpu),
      again_second(DType::kF32, padded(second), *gpu), rounded(DType::kBF16, {n + offset}, *gpu);
  for (int step = 1; step <= 3; ++step) {
    const auto gradient = NormalFor(DType::kF32, {n}, generator);
    const double apply = step == 2 ? 0 : 1;
    const HostTensor<double> decisions({kNumUpdateDecisions}, {NAN, NAN, 0.25 * step, apply});
    const DeviceTensor gpu_gradient(DType::kF32, padded(gradient), *gpu),
        gpu_decisions(DType::kF64, decisions, *gpu);
    const auto update = [&](const ConstTensorView& g, const TensorView& p, const TensorView& m,
                            const TensorView& v, const TensorView& r, const ConstTensorView& d,
                            Stream& stream) {
      return AdamW({.parameter_N = p,
                    .gradient_N = g,
                    .first_moment_N = m,
                    .second_moment_N = v,
                    .rounded_N = r,
                    .segments = segments,
                    .beta1 = kBeta1,
                    .beta2 = kBeta2,
                    .epsilon = kEpsilon,
                    .learning_rate = 0.01 * step,
                    .first_correction = 1 / (1 - std::pow(kBeta1, step)),
                    .second_correction = 1 / (1 - std::pow(kBeta2, step)),
                    .decisions = d},
                   stream);
    };
    const auto inside = [&](const DeviceTensor& tensor) { return tensor.view().Rows(offset, n); };
    ASSERT_THAT(update(gradient.view(), parameter.view(), first.view(), second.view(), {},
                       decisions.view(), *cpu),
                IsOk());
    ASSERT_THAT(update(inside(gpu_gradient), inside(gpu_parameter), inside(gpu_first),
                       inside(gpu_second), inside(rounded), gpu_decisions.view(), *gpu),
                IsOk());
    ASSERT_THAT(update(inside(gpu_gradient), inside(again_parameter), inside(again_first),
                       inside(again_second), {}, gpu_decisions.view(), *gpu),
                IsOk());
  }
  const auto values = [&](const DeviceTensor& tensor) {
    const std::vector<double> all = tensor.Values();
    return std::vector<double>(all.begin() + offset, all.end());
  };
  const ErrorSpec spec{.absolute = 4 * Epsilon<float>(), .relative = 8 * Epsilon<float>()};
  EXPECT_THAT(values(gpu_parameter), IsCloseTo(parameter.values(), spec));
  EXPECT_THAT(values(gpu_first), IsCloseTo(first.values(), spec));
  EXPECT_THAT(values(gpu_second), IsCloseTo(second.values(), spec));
  EXPECT_EQ(gpu_parameter.Bits(), again_parameter.Bits());
  EXPECT_EQ(gpu_second.Bits(), again_second.Bits());
  const std::vector<double> stored = values(rounded), masters = values(gpu_parameter);
  for (const AdamWSegment& segment : segments) {
    for (int64_t i = segment.begin; i < segment.begin + segment.count; ++i) {
      ASSERT_EQ(stored[i], static_cast<float>(BFloat16(static_cast<float>(masters[i])))) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Offsets, AdamWCudaTest, ::testing::Values(0, 4, 1));

TEST(AdamWCudaTest, TakesMastersInF32Only) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor x(DType::kBF16, {8}, *gpu),
      decisions(DType::kF64, {kNumUpdateDecisions}, *gpu);
  EXPECT_THAT(AdamW({.parameter_N = x.view(),
                     .gradient_N = x.view(),
                     .first_moment_N = x.view(),
                     .second_moment_N = x.view(),
                     .decisions = decisions.view()},
                    *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("parameter is bf16[8]; expected f32")));
}

}  // namespace
}  // namespace hetero
