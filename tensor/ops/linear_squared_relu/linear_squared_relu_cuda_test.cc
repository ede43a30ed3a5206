#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Extents {
  int64_t t, k, n;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.t << "x" << e.k << "x" << e.n;
  }
};

class LinearSquaredReluCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

// A sum of `terms` products of normal numbers is of size √terms and off by a few of its epsilons
// for each sixteenth term; its rounding to storage is what a square or a factor makes larger.
ErrorSpec Tolerance(DType storage, int64_t terms) {
  const double size = std::sqrt(static_cast<double>(terms));
  const double off = (16 * (1 + size) + size * static_cast<double>(terms) / 4) * Epsilon<float>();
  return {.absolute = 16 * size * (off + size * Epsilon(storage)) + off,
          .relative = 4 * Epsilon(storage)};
}

TEST_P(LinearSquaredReluCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const auto x = NormalFor(dtype, {e.t, e.k}, generator);
  const auto w = NormalFor(dtype, {e.n, e.k}, generator);
  const auto dy = NormalFor(dtype, {e.t, e.n}, generator);
  HostTensor<double> y({e.t, e.n}), a({e.t, e.n}), df({e.t, e.k});
  ASSERT_THAT(LinearSquaredRelu(x.view(), w.view(), y.view(), a.view(), *cpu), IsOk());
  ASSERT_THAT(LinearSquaredReluBackward(dy.view(), w.view(), x.view(), df.view(), *cpu), IsOk());

  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_w(dtype, w, *gpu), gpu_dy(dtype, dy, *gpu);
  std::vector<std::vector<uint8_t>> bits;
  for (int run = 0; run < 2; ++run) {
    SCOPED_TRACE(run);
    const DeviceTensor gpu_y(dtype, {e.t, e.n}, *gpu), gpu_a(dtype, {e.t, e.n}, *gpu),
        gpu_df(dtype, {e.t, e.k}, *gpu);
    ASSERT_THAT(LinearSquaredRelu(gpu_x.view(), gpu_w.view(), gpu_y.view(), gpu_a.view(), *gpu),
                IsOk());
    ASSERT_THAT(
        LinearSquaredReluBackward(gpu_dy.view(), gpu_w.view(), gpu_x.view(), gpu_df.view(), *gpu),
        IsOk());
    EXPECT_THAT(gpu_y.Values(), IsCloseTo(y.values(), Tolerance(dtype, e.k)));
    EXPECT_THAT(gpu_a.Values(), IsCloseTo(a.values(), Tolerance(dtype, e.k)));
    EXPECT_THAT(gpu_df.Values(), IsCloseTo(df.values(), Tolerance(dtype, e.n)));
    bits.push_back({});
    for (const DeviceTensor* out : {&gpu_y, &gpu_a, &gpu_df}) {
      const std::vector<uint8_t> of_one = out->Bits();
      bits.back().insert(bits.back().end(), of_one.begin(), of_one.end());
    }
  }
  EXPECT_EQ(bits[0], bits[1]);
}

// Multiples of 8 take tensor cores in bf16: below, at and above a tile and a pair of tiles.
INSTANTIATE_TEST_SUITE_P(
    Shapes, LinearSquaredReluCudaTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Extents{0, 8, 16}, Extents{1, 8, 8}, Extents{37, 11, 5},
                                         Extents{256, 384, 192}, Extents{300, 200, 584},
                                         Extents{1029, 456, 712})));

}  // namespace
}  // namespace hetero
