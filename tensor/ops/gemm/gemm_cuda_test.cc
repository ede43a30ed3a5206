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
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

struct DTypes {
  DType inputs, output;

  friend void PrintTo(const DTypes& d, std::ostream* out) {
    *out << Name(d.inputs) << " to " << Name(d.output);
  }
};
constexpr DTypes kDTypes[] = {
    {DType::kF32, DType::kF32}, {DType::kBF16, DType::kBF16}, {DType::kBF16, DType::kF32}};

// Sums of k products of standard normal numbers, so of size sqrt(k), in f32 and in any order, and
// one rounding to the output. Roundings of k partial sums walk k epsilons / 7 far as a rule; of a
// million sums some have partial sums four times as large as the rule and a walk five times as long
// for that. TF32 would be off by sqrt(k) 2000 epsilons. Tensor cores cut what they align where f32
// units round it: each of the k / 16 partial sums loses up to an epsilon of its size, always
// towards zero. To what is already there, `adds`, some of the library's kernels add the product
// after they have rounded it to its storage.
ErrorSpec Tolerance(const DTypes& dtypes, int64_t k, bool adds) {
  const double terms = static_cast<double>(k);
  const double size = std::sqrt(terms);
  const double epsilons = dtypes.inputs == DType::kF32 ? 8 * (1 + size) + 3 * terms
                                                       : 16 * (1 + size) + size * terms / 16;
  return {.absolute = epsilons * Epsilon<float>(),
          .relative = Epsilon(dtypes.output) + 8 * Epsilon<float>(),
          .relative_to_max = adds && dtypes.output == DType::kBF16 ? Epsilon(DType::kBF16) : 0};
}

struct Sides {
  int64_t m, n, k, gap;

  friend void PrintTo(const Sides& s, std::ostream* out) {
    *out << s.m << "x" << s.n << "x" << s.k << "+" << s.gap;
  }
};

// The last two are large enough for the kernels that a model meets.
constexpr Sides kSides[] = {
    {1, 1, 1, 0}, {5, 7, 3, 2}, {48, 48, 32, 0}, {33, 1, 65, 3},      {97, 130, 71, 1},
    {0, 4, 3, 0}, {4, 0, 3, 0}, {4, 3, 0, 0},    {512, 768, 1024, 0}, {384, 520, 4104, 8}};

class GemmCudaTest
    : public ::testing::TestWithParam<std::tuple<DTypes, Sides, bool, bool, double>> {};

TEST_P(GemmCudaTest, EqualsTheCpuAndItselfAndKeepsTheGaps) {
  const auto [dtypes, sides, transpose_a, transpose_b, beta] = GetParam();
  const auto [m, n, k, gap] = sides;
  std::mt19937_64 generator = FreshGenerator();
  const auto a =
      NormalFor(dtypes.inputs, {transpose_a ? k : m, (transpose_a ? m : k) + gap}, generator);
  const auto b =
      NormalFor(dtypes.inputs, {transpose_b ? n : k, (transpose_b ? k : n) + gap}, generator);
  auto c = NormalFor(dtypes.output, {m, n + gap}, generator);
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_a(dtypes.inputs, a, *gpu), gpu_b(dtypes.inputs, b, *gpu);
  DeviceTensor gpu_c(dtypes.output, c, *gpu), again(dtypes.output, c, *gpu);
  if (beta == 0) {
    for (DeviceTensor* output : {&gpu_c, &again}) {
      ASSERT_THAT(Fill(std::nan(""), output->view().Columns(0, n), *gpu), IsOk());
    }
  }
  const auto product = [&](const ConstTensorView& a_view, const ConstTensorView& b_view,
                           const TensorView& c_view, Stream& stream) {
    return Gemm({.a = a_view.Columns(0, a_view.dim(1) - gap),
                 .b = b_view.Columns(0, b_view.dim(1) - gap),
                 .c = c_view.Columns(0, n),
                 .transpose_a = transpose_a,
                 .transpose_b = transpose_b,
                 .alpha = 0.5,
                 .beta = beta},
                stream);
  };
  ASSERT_THAT(product(a.view(), b.view(), c.view(), *cpu), IsOk());
  ASSERT_THAT(product(gpu_a.view(), gpu_b.view(), gpu_c.view(), *gpu), IsOk());
  ASSERT_THAT(product(gpu_a.view(), gpu_b.view(), again.view(), *gpu), IsOk());
  EXPECT_THAT(gpu_c.Values(), IsCloseTo(c.values(), Tolerance(dtypes, k, /*adds=*/beta != 0)));
  EXPECT_EQ(gpu_c.Bits(), again.Bits());
}

INSTANTIATE_TEST_SUITE_P(Sides, GemmCudaTest,
                         ::testing::Combine(::testing::ValuesIn(kDTypes),
                                            ::testing::ValuesIn(kSides), ::testing::Bool(),
                                            ::testing::Bool(), ::testing::Values(0.0, 1.0, -0.5)));

class LinearCudaTest : public ::testing::TestWithParam<std::tuple<DType, Sides>> {};

TEST_P(LinearCudaTest, ForwardAddsTheBiasAndBackwardSumsItsGradient) {
  const auto [dtype, sides] = GetParam();
  const auto [t, n, k, gap] = sides;
  std::mt19937_64 generator = FreshGenerator();
  const auto x = NormalFor(dtype, {t, k}, generator);
  const auto w = NormalFor(dtype, {n, k}, generator);
  const auto biases = NormalFor(dtype, {n + 1}, generator);
  const auto dy = NormalFor(dtype, {t, n + gap}, generator);
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_w(dtype, w, *gpu), gpu_biases(dtype, biases, *gpu),
      gpu_dy(dtype, dy, *gpu);
  for (const int64_t offset : {0, 1}) {  // 1: a bias at an odd address
    HostTensor<double> y({t, n});
    const DeviceTensor gpu_y(dtype, {t, n}, *gpu);
    ASSERT_THAT(LinearForward(x.view(), w.view(), biases.view().Rows(offset, n), y.view(), *cpu),
                IsOk());
    ASSERT_THAT(LinearForward(gpu_x.view(), gpu_w.view(), gpu_biases.view().Rows(offset, n),
                              gpu_y.view(), *gpu),
                IsOk());
    EXPECT_THAT(gpu_y.Values(), IsCloseTo(y.values(), Tolerance({dtype, dtype}, k, /*adds=*/true)));
  }

  HostTensor<double> dbias({n});
  const DeviceTensor gpu_dbias(DType::kF32, {n}, *gpu), again(DType::kF32, {n}, *gpu);
  const auto slice = [&](const ConstTensorView& view) { return view.Columns(gap, n); };
  for (const bool accumulate : {false, true}) {
    ASSERT_THAT(BiasBackward(slice(dy.view()), dbias.view(), accumulate, *cpu), IsOk());
    for (const DeviceTensor* out : {&gpu_dbias, &again}) {
      ASSERT_THAT(BiasBackward(slice(gpu_dy.view()), out->view(), accumulate, *gpu), IsOk());
    }
  }
  EXPECT_THAT(gpu_dbias.Values(),
              IsCloseTo(dbias.values(), Tolerance({DType::kF32, DType::kF32}, t, /*adds=*/false)));
  EXPECT_EQ(gpu_dbias.Bits(), again.Bits());
}

INSTANTIATE_TEST_SUITE_P(
    Sides, LinearCudaTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                       ::testing::Values(Sides{1, 1, 1, 0}, Sides{5, 7, 3, 1},
                                         Sides{384, 128, 64, 0}, Sides{1000, 264, 40, 8},
                                         Sides{0, 4, 3, 0}, Sides{9, 5, 0, 0})));

class GemmSumCudaTest
    : public ::testing::TestWithParam<std::tuple<DTypes, Sides, double, std::pair<int64_t, bool>>> {
};

// A bias at an odd address, or none; what is added has rows of another stride than c.
TEST_P(GemmSumCudaTest, AddsABiasAndAnotherMatrix) {
  const auto [dtypes, sides, beta, variant] = GetParam();
  const auto [m, n, k, gap] = sides;
  const auto [offset, has_bias] = variant;
  std::mt19937_64 generator = FreshGenerator();
  const auto a = NormalFor(dtypes.inputs, {m, k}, generator);
  const auto b = NormalFor(dtypes.inputs, {n, k}, generator);
  const auto biases = NormalFor(dtypes.output, {n + 1}, generator);
  const auto added = NormalFor(dtypes.output, {m, n + gap + 8}, generator);
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  HostTensor<double> c({m, n + gap}, std::vector<double>(m * (n + gap)));
  const DeviceTensor gpu_a(dtypes.inputs, a, *gpu), gpu_b(dtypes.inputs, b, *gpu),
      gpu_biases(dtypes.output, biases, *gpu), gpu_added(dtypes.output, added, *gpu);
  const DeviceTensor gpu_c(dtypes.output, {m, n + gap}, *gpu),
      again(dtypes.output, {m, n + gap}, *gpu);
  const auto product = [&](const ConstTensorView& a_view, const ConstTensorView& b_view,
                           const ConstTensorView& bias_view, const ConstTensorView& added_view,
                           const TensorView& c_view, Stream& stream) {
    return Gemm({.a = a_view,
                 .b = b_view,
                 .c = c_view.Columns(0, n),
                 .bias = has_bias ? bias_view.Rows(offset, n) : ConstTensorView(),
                 .added = added_view.Columns(0, n),
                 .transpose_b = true,
                 .beta = beta},
                stream);
  };
  ASSERT_THAT(product(a.view(), b.view(), biases.view(), added.view(), c.view(), *cpu), IsOk());
  for (const DeviceTensor* const out : {&gpu_c, &again}) {
    ASSERT_THAT(Fill(0, out->view().Columns(n, gap), *gpu), IsOk());
    ASSERT_THAT(Fill(std::nan(""), out->view().Columns(0, n), *gpu), IsOk());
    ASSERT_THAT(
        product(gpu_a.view(), gpu_b.view(), gpu_biases.view(), gpu_added.view(), out->view(), *gpu),
        IsOk());
  }
  EXPECT_THAT(gpu_c.Values(), IsCloseTo(c.values(), Tolerance(dtypes, k, /*adds=*/true)));
  EXPECT_EQ(gpu_c.Bits(), again.Bits());
}

INSTANTIATE_TEST_SUITE_P(Sides, GemmSumCudaTest,
                         ::testing::Combine(::testing::ValuesIn(kDTypes),
                                            ::testing::Values(Sides{1, 1, 1, 0}, Sides{5, 7, 3, 2},
                                                              Sides{97, 130, 71, 1},
                                                              Sides{4, 3, 0, 0},
                                                              Sides{512, 768, 1024, 0}),
                                            ::testing::Values(0.0, 1.0, -0.5),
                                            ::testing::Values(std::pair<int64_t, bool>{0, false},
                                                              std::pair<int64_t, bool>{0, true},
                                                              std::pair<int64_t, bool>{1, true})));

TEST(GemmCudaTest, RefusesDoubles) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor a(DType::kF64, {2, 2}, *gpu);
  EXPECT_THAT(Gemm({.a = a.view(), .b = a.view(), .c = a.view()}, *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32 and bf16")));
}

}  // namespace
}  // namespace hetero
