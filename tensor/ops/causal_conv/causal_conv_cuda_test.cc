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
#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Extents {
  int64_t rows, row_length, channels, gap, taps;
  bool packed;  // sequences of a few tokens inside the rows
  bool biased = true;

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.rows << "x" << e.row_length << "x" << e.channels << "+" << e.gap << "k" << e.taps
         << (e.packed ? "packed" : "") << (e.biased ? "" : "unbiased");
  }
};

// Rows shorter than the taps, rows that end inside and at the border of a part,
// long rows that leave whole groups of tokens in one sequence, and tokens that
// are no whole groups.
constexpr Extents kExtents[] = {
    {1, 1, 1, 0, 4, false},    {5, 2, 37, 3, 4, false},          {8, 48, 256, 0, 4, false},
    {3, 32, 24, 4, 3, false},  {2, 333, 136, 8, 4, true},        {1, 700, 20, 0, 2, true},
    {7, 9, 12, 0, 1, false},   {2, 333, 136, 8, 4, true, false}, {3, 50, 37, 1, 3, false, false},
    {1, 401, 40, 8, 4, false}, {2, 192, 1028, 4, 4, false},      {1, 600, 8, 0, 3, false}};

class CausalConvCudaTest : public ::testing::TestWithParam<std::tuple<DType, Extents>> {};

TEST_P(CausalConvCudaTest, EqualsTheCpuAndItself) {
  const auto [dtype, e] = GetParam();
  const int64_t tokens = e.rows * e.row_length;
  std::mt19937_64 generator = FreshGenerator();
  const auto x = NormalFor(dtype, {tokens, e.channels + e.gap}, generator);
  const auto d_out = NormalFor(dtype, {tokens, e.channels + e.gap}, generator);
  const auto weight = NormalFor(dtype, {e.channels, e.taps}, generator);
  const auto bias = NormalFor(dtype, {e.channels}, generator);
  // Sequences much shorter than a part's tokens, or about as long.
  const uint64_t mean_length = e.row_length > 500 ? 60 : 5;
  HostTensor<int32_t> index({tokens});
  for (int64_t t = 0; t < tokens; ++t) {
    index[t] =
        t == 0 ? 0
               : index[t - 1] + (generator() % mean_length == 0 || t % e.row_length == 0 ? 1 : 0);
  }
  auto d_weight = NormalFor(DType::kF32, {e.channels, e.taps}, generator);
  auto d_bias = NormalFor(DType::kF32, {e.channels}, generator);
  HostTensor<double> out({tokens, e.channels}), d_x({tokens, e.channels});
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_d_out(dtype, d_out, *gpu),
      gpu_weight(dtype, weight, *gpu), gpu_bias(dtype, bias, *gpu),
      gpu_index(DType::kI32, index, *gpu), gpu_out(dtype, {tokens, e.channels}, *gpu),
      gpu_d_x(dtype, {tokens, e.channels}, *gpu), again(dtype, {tokens, e.channels}, *gpu),
      gpu_d_weight(DType::kF32, d_weight, *gpu), gpu_d_bias(DType::kF32, d_bias, *gpu),
      d_weight_again(DType::kF32, d_weight, *gpu), d_bias_again(DType::kF32, d_bias, *gpu);
  const auto slice = [&](const auto& view) { return view.Columns(e.gap, e.channels); };
  CausalConvInputs inputs{.x_TC = slice(x.view()),
                          .weight_CK = weight.view(),
                          .bias_C = e.biased ? ConstTensorView(bias.view()) : ConstTensorView(),
                          .sequences = {.num_rows = e.rows, .row_length = e.row_length}};
  CausalConvInputs gpu_inputs{
      .x_TC = slice(gpu_x.view()),
      .weight_CK = gpu_weight.view(),
      .bias_C = e.biased ? ConstTensorView(gpu_bias.view()) : ConstTensorView(),
      .sequences = inputs.sequences};
  if (e.packed) {
    inputs.sequences.sequence_index = index.view();
    gpu_inputs.sequences.sequence_index = gpu_index.view();
  }
  // Up to four products inside, then the activation.
  const ErrorSpec spec{.absolute = 32 * Epsilon<float>(),
                       .relative = Epsilon(dtype) + 32 * Epsilon<float>()};
  const ErrorSpec sums{.absolute = 64 * Epsilon<float>(), .relative_to_max = 64 * Epsilon<float>()};
  ASSERT_THAT(CausalConvForward(inputs, out.view(), *cpu), IsOk());
  ASSERT_THAT(CausalConvForward(gpu_inputs, gpu_out.view(), *gpu), IsOk());
  EXPECT_THAT(gpu_out.Values(), IsCloseTo(out.values(), spec));
  for (const bool accumulate : {true, false, true}) {
    const auto bias_gradient = [&](TensorView view) { return e.biased ? view : TensorView(); };
    ASSERT_THAT(CausalConvBackward(
                    inputs, slice(d_out.view()),
                    {d_x.view(), d_weight.view(), bias_gradient(d_bias.view()), accumulate}, *cpu),
                IsOk());
    ASSERT_THAT(CausalConvBackward(gpu_inputs, slice(gpu_d_out.view()),
                                   {gpu_d_x.view(), gpu_d_weight.view(),
                                    bias_gradient(gpu_d_bias.view()), accumulate},
                                   *gpu),
                IsOk());
    ASSERT_THAT(CausalConvBackward(gpu_inputs, slice(gpu_d_out.view()),
                                   {again.view(), d_weight_again.view(),
                                    bias_gradient(d_bias_again.view()), accumulate},
                                   *gpu),
                IsOk());
    EXPECT_THAT(gpu_d_x.Values(), IsCloseTo(d_x.values(), spec));
    EXPECT_THAT(gpu_d_weight.Values(), IsCloseTo(d_weight.values(), sums));
    EXPECT_THAT(gpu_d_bias.Values(), IsCloseTo(d_bias.values(), sums));
  }
  EXPECT_EQ(gpu_d_x.Bits(), again.Bits());
  EXPECT_EQ(gpu_d_weight.Bits(), d_weight_again.Bits());
  EXPECT_EQ(gpu_d_bias.Bits(), d_bias_again.Bits());
  // One parameter gradient, and none.
  if (e.biased) {
    ASSERT_THAT(CausalConvBackward(gpu_inputs, slice(gpu_d_out.view()),
                                   {.d_x_TC = gpu_d_x.view(), .d_bias_C = gpu_d_bias.view()}, *gpu),
                IsOk());
  }
  ASSERT_THAT(
      CausalConvBackward(gpu_inputs, slice(gpu_d_out.view()), {.d_x_TC = gpu_d_x.view()}, *gpu),
      IsOk());
  EXPECT_EQ(gpu_d_x.Bits(), again.Bits());
  EXPECT_EQ(gpu_d_weight.Bits(), d_weight_again.Bits());
}

INSTANTIATE_TEST_SUITE_P(Extents, CausalConvCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
