#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Extents {
  int64_t rows, channels, groups, gap;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.rows << "x" << e.channels << "in" << e.groups << "+" << e.gap;
  }
};

// A warp that holds one, two and four vectors a lane of a group, a block a group, odd groups, parts
// of one and of many rows.
constexpr Extents kExtents[] = {
    {1, 1, 1, 0},    {5, 36, 4, 3},    {9, 256, 4, 8}, {33, 4096, 8, 0},  {70, 1030, 2, 2},
    {3, 4104, 1, 8}, {4500, 16, 2, 0}, {0, 16, 2, 0},  {300, 1040, 2, 8}, {65, 960, 1, 0}};

class GatedNormCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

TEST_P(GatedNormCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  const auto draw = [&] { return NormalFor(dtype, {e.rows, e.channels + e.gap}, generator); };
  const auto y = draw(), z = draw(), d_out = draw();
  const auto weight = NormalFor(dtype, {e.channels}, generator);
  auto d_weight = NormalFor(DType::kF32, {e.channels}, generator);
  HostTensor<double> out({e.rows, e.channels}), d_y({e.rows, e.channels}),
      d_z({e.rows, e.channels});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_y(dtype, y, *gpu), gpu_z(dtype, z, *gpu), gpu_d_out(dtype, d_out, *gpu),
      gpu_weight(dtype, weight, *gpu), gpu_out(dtype, {e.rows, e.channels}, *gpu),
      gpu_d_y(dtype, d_out, *gpu), gpu_d_z(dtype, {e.rows, e.channels}, *gpu),
      again_d_y(dtype, {e.rows, e.channels}, *gpu), again_d_z(dtype, {e.rows, e.channels}, *gpu),
      gpu_d_weight(DType::kF32, d_weight, *gpu), again_d_weight(DType::kF32, d_weight, *gpu);
  const auto slice = [&](const auto& view) { return view.Columns(e.gap, e.channels); };
  const GatedNormInputs inputs{slice(y.view()), slice(z.view()), weight.view(), e.groups, 1e-5};
  const GatedNormInputs gpu_inputs{slice(gpu_y.view()), slice(gpu_z.view()), gpu_weight.view(),
                                   e.groups, 1e-5};
  const ErrorSpec spec{.absolute = 32 * Epsilon<float>(),
                       .relative = Epsilon(dtype) + 32 * Epsilon<float>(),
                       .relative_to_max = 16 * Epsilon<float>()};
  ASSERT_THAT(GatedNormForward(inputs, out.view(), *cpu), IsOk());
  ASSERT_THAT(GatedNormForward(gpu_inputs, gpu_out.view(), *gpu), IsOk());
  EXPECT_THAT(gpu_out.Values(), IsCloseTo(out.values(), spec));

  for (const bool accumulate : {true, false}) {
    ASSERT_THAT(GatedNormBackward(inputs, slice(d_out.view()),
                                  {d_y.view(), d_z.view(), d_weight.view(), accumulate}, *cpu),
                IsOk());
    ASSERT_THAT(GatedNormBackward(
                    gpu_inputs, slice(gpu_d_out.view()),
                    {again_d_y.view(), again_d_z.view(), again_d_weight.view(), accumulate}, *gpu),
                IsOk());
    EXPECT_THAT(again_d_weight.Values(),
                IsCloseTo(d_weight.values(), {.absolute = 64 * Epsilon<float>(),
                                              .relative_to_max = 64 * Epsilon<float>()}));
  }
  // With n = y silu(z) and g = weight d_out, what a group takes away of g / rms(n) may leave next
  // to nothing of it, in a group of one channel always. The rest is multiplied by silu(z) and by y
  // silu'(z), both smaller than |y| + |z|.
  double largest = 0;
  for (int64_t t = 0; t < e.rows; ++t) {
    for (int64_t begin = 0; begin < e.channels; begin += e.channels / e.groups) {
      double squares = 0, factor = 0;
      for (int64_t c = begin; c < begin + e.channels / e.groups; ++c) {
        const int64_t at = t * (e.channels + e.gap) + e.gap + c;
        squares += std::pow(y[at] * z[at] / (1 + std::exp(-z[at])), 2);
        factor = std::max(
            factor, std::abs(weight[c] * d_out[at]) * (1.1 * std::abs(y[at]) + std::abs(z[at])));
      }
      const double mean = squares * static_cast<double>(e.groups) / static_cast<double>(e.channels);
      largest = std::max(largest, factor / std::sqrt(mean + 1e-5));
    }
  }
  const ErrorSpec gradient{.absolute = (32 + 16 * largest) * Epsilon<float>(),
                           .relative = spec.relative};
  EXPECT_THAT(again_d_y.Values(), IsCloseTo(d_y.values(), gradient));
  EXPECT_THAT(again_d_z.Values(), IsCloseTo(d_z.values(), gradient));

  // In the place of d_out.
  ASSERT_THAT(
      GatedNormBackward(gpu_inputs, slice(gpu_d_y.view()),
                        {slice(gpu_d_y.view()), gpu_d_z.view(), gpu_d_weight.view(), false}, *gpu),
      IsOk());
  EXPECT_EQ(gpu_d_z.Bits(), again_d_z.Bits());
  EXPECT_EQ(gpu_d_weight.Bits(), again_d_weight.Bits());
  const std::vector<double> wide = gpu_d_y.Values(), expected = again_d_y.Values();
  for (int64_t t = 0; t < e.rows; ++t) {
    for (int64_t c = 0; c < e.channels; ++c) {
      ASSERT_EQ(wide[t * (e.channels + e.gap) + e.gap + c], expected[t * e.channels + c]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Extents, GatedNormCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
