#include <cmath>
#include <cstdint>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr SliceExtents kExtents[] = {{1, 1, 0},     {5, 37, 3},   {9, 128, 8},   {70, 1030, 2},
                                     {33, 1856, 0}, {2, 9000, 8}, {4500, 24, 0}, {0, 16, 0}};

class ActivationCudaTest : public ::testing::TestWithParam<std::tuple<DType, SliceExtents>> {
 protected:
  ActivationCudaTest() : dtype_(std::get<0>(GetParam())), extents_(std::get<1>(GetParam())) {}

  HostTensor<double> Draw() {
    return NormalFor(dtype_, {extents_.rows, extents_.columns + extents_.gap}, generator_, 2.0);
  }
  template <typename View>
  View Slice(const View& view) const {
    return view.Columns(extents_.gap, extents_.columns);
  }
  ErrorSpec Tolerance() const {
    return {.absolute = 16 * Epsilon<float>(), .relative = Epsilon(dtype_) + 16 * Epsilon<float>()};
  }
  // Sums of `terms` numbers of random sign and of size 1 and more, so of size sqrt(terms), unless
  // all of the few that there are happen to cancel.
  static ErrorSpec SumTolerance(int64_t terms) {
    return {.absolute = 64 * Epsilon<float>() * std::sqrt(static_cast<double>(terms)),
            .relative_to_max = 64 * Epsilon<float>()};
  }

  DType dtype_;
  SliceExtents extents_;
  std::mt19937_64 generator_ = FreshGenerator();
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(ActivationCudaTest, SquaredReluEqualsTheCpuAndItself) {
  const auto f = Draw(), da = Draw();
  const int64_t rows = extents_.rows, columns = extents_.columns;
  const auto p = NormalFor(DType::kF32, {rows}, generator_);
  const DeviceTensor gpu_f(dtype_, f, *gpu_), gpu_da(dtype_, da, *gpu_),
      gpu_p(DType::kF32, p, *gpu_);
  for (const bool factor : {true, false}) {
    const ConstTensorView p_view = factor ? p.view() : ConstTensorView();
    const ConstTensorView gpu_p_view = factor ? gpu_p.view() : ConstTensorView();
    HostTensor<double> a({rows, columns}), df({rows, columns}), dp({rows});
    const DeviceTensor gpu_a(dtype_, {rows, columns}, *gpu_),
        gpu_df(dtype_, {rows, columns}, *gpu_), again(dtype_, {rows, columns}, *gpu_),
        gpu_dp(DType::kF32, {rows}, *gpu_), dp_again(DType::kF32, {rows}, *gpu_);
    ASSERT_THAT(SquaredReluForward(Slice(f.view()), p_view, a.view(), *cpu_), IsOk());
    ASSERT_THAT(SquaredReluForward(Slice(gpu_f.view()), gpu_p_view, gpu_a.view(), *gpu_), IsOk());
    EXPECT_THAT(gpu_a.Values(), IsCloseTo(a.values(), Tolerance()));

    ASSERT_THAT(SquaredReluBackward(
                    {Slice(da.view()), Slice(f.view()), p_view, df.view(), dp.view()}, *cpu_),
                IsOk());
    for (const auto& [df_view, dp_view] :
         {std::pair(gpu_df.view(), gpu_dp.view()), std::pair(again.view(), dp_again.view())}) {
      ASSERT_THAT(
          SquaredReluBackward(
              {Slice(gpu_da.view()), Slice(gpu_f.view()), gpu_p_view, df_view, dp_view}, *gpu_),
          IsOk());
    }
    EXPECT_THAT(gpu_df.Values(), IsCloseTo(df.values(), Tolerance()));
    EXPECT_THAT(gpu_dp.Values(), IsCloseTo(dp.values(), SumTolerance(columns)));
    EXPECT_EQ(gpu_df.Bits(), again.Bits());
    EXPECT_EQ(gpu_dp.Bits(), dp_again.Bits());
  }
}

TEST_P(ActivationCudaTest, GeluEqualsTheCpuAndItself) {
  const auto f = Draw(), da = Draw();
  const int64_t rows = extents_.rows, columns = extents_.columns;
  const auto bias = NormalFor(dtype_, {columns}, generator_);
  const DeviceTensor gpu_f(dtype_, f, *gpu_), gpu_da(dtype_, da, *gpu_),
      gpu_bias(dtype_, bias, *gpu_);
  for (const auto& [form, biased] : {std::pair(GeluForm::kTanh, true),
                                     {GeluForm::kTanh, false},
                                     {GeluForm::kErf, true},
                                     {GeluForm::kErf, false}}) {
    const ConstTensorView bias_view = biased ? bias.view() : ConstTensorView();
    const ConstTensorView gpu_bias_view = biased ? gpu_bias.view() : ConstTensorView();
    HostTensor<double> a({rows, columns}), df({rows, columns}), dbias({columns});
    const DeviceTensor gpu_a(dtype_, {rows, columns}, *gpu_),
        gpu_df(dtype_, {rows, columns}, *gpu_), again(dtype_, {rows, columns}, *gpu_),
        gpu_dbias(DType::kF32, {columns}, *gpu_), dbias_again(DType::kF32, {columns}, *gpu_);
    ASSERT_THAT(GeluForward(form, Slice(f.view()), bias_view, a.view(), *cpu_), IsOk());
    ASSERT_THAT(GeluForward(form, Slice(gpu_f.view()), gpu_bias_view, gpu_a.view(), *gpu_), IsOk());
    EXPECT_THAT(gpu_a.Values(), IsCloseTo(a.values(), Tolerance()));

    for (const bool accumulate : {false, true}) {
      GeluBackwardArgs args{.form = form,
                            .da_TF = Slice(da.view()),
                            .f_TF = Slice(f.view()),
                            .bias_F = bias_view,
                            .df_TF = df.view(),
                            .dbias_F = dbias.view(),
                            .accumulate = accumulate};
      ASSERT_THAT(GeluBackward(args, *cpu_), IsOk());
      args.da_TF = Slice(gpu_da.view());
      args.f_TF = Slice(gpu_f.view());
      args.bias_F = gpu_bias_view;
      args.df_TF = gpu_df.view();
      args.dbias_F = gpu_dbias.view();
      ASSERT_THAT(GeluBackward(args, *gpu_), IsOk());
      args.df_TF = again.view();
      args.dbias_F = dbias_again.view();
      ASSERT_THAT(GeluBackward(args, *gpu_), IsOk());
    }
    EXPECT_THAT(gpu_df.Values(), IsCloseTo(df.values(), Tolerance()));
    EXPECT_THAT(gpu_dbias.Values(), IsCloseTo(dbias.values(), SumTolerance(rows)));
    EXPECT_EQ(gpu_df.Bits(), again.Bits());
    EXPECT_EQ(gpu_dbias.Bits(), dbias_again.Bits());
  }
}

TEST_P(ActivationCudaTest, SwiGluEqualsTheCpuAndItself) {
  const int64_t rows = extents_.rows, columns = extents_.columns;
  const auto f = NormalFor(dtype_, {rows, extents_.gap + 2 * columns}, generator_, 2.0);
  const auto da = Draw();
  const auto bias = NormalFor(dtype_, {2 * columns}, generator_);
  const DeviceTensor gpu_f(dtype_, f, *gpu_), gpu_da(dtype_, da, *gpu_),
      gpu_bias(dtype_, bias, *gpu_);
  const auto both = [&](const auto& view) { return view.Columns(extents_.gap, 2 * columns); };
  for (const bool biased : {true, false}) {
    const ConstTensorView bias_view = biased ? bias.view() : ConstTensorView();
    const ConstTensorView gpu_bias_view = biased ? gpu_bias.view() : ConstTensorView();
    HostTensor<double> a({rows, columns}), df({rows, 2 * columns}), dbias({2 * columns});
    const DeviceTensor gpu_a(dtype_, {rows, columns}, *gpu_),
        gpu_df(dtype_, {rows, 2 * columns}, *gpu_), again(dtype_, {rows, 2 * columns}, *gpu_),
        gpu_dbias(DType::kF32, {2 * columns}, *gpu_),
        dbias_again(DType::kF32, {2 * columns}, *gpu_);
    ASSERT_THAT(SwiGluForward(both(f.view()), bias_view, a.view(), *cpu_), IsOk());
    ASSERT_THAT(SwiGluForward(both(gpu_f.view()), gpu_bias_view, gpu_a.view(), *gpu_), IsOk());
    EXPECT_THAT(gpu_a.Values(), IsCloseTo(a.values(), Tolerance()));
    for (const bool accumulate : {false, true}) {
      SwiGluBackwardArgs args{.da_TF = Slice(da.view()),
                              .f_TD = both(f.view()),
                              .bias_D = bias_view,
                              .df_TD = df.view(),
                              .dbias_D = dbias.view(),
                              .accumulate = accumulate};
      ASSERT_THAT(SwiGluBackward(args, *cpu_), IsOk());
      args.da_TF = Slice(gpu_da.view());
      args.f_TD = both(gpu_f.view());
      args.bias_D = gpu_bias_view;
      args.df_TD = gpu_df.view();
      args.dbias_D = gpu_dbias.view();
      ASSERT_THAT(SwiGluBackward(args, *gpu_), IsOk());
      args.df_TD = again.view();
      args.dbias_D = dbias_again.view();
      ASSERT_THAT(SwiGluBackward(args, *gpu_), IsOk());
    }
    EXPECT_THAT(gpu_df.Values(), IsCloseTo(df.values(), Tolerance()));
    EXPECT_THAT(gpu_dbias.Values(), IsCloseTo(dbias.values(), SumTolerance(rows)));
    EXPECT_EQ(gpu_df.Bits(), again.Bits());
    EXPECT_EQ(gpu_dbias.Bits(), dbias_again.Bits());
  }
}

TEST_P(ActivationCudaTest, WorksInPlace) {
  const auto f = Draw(), da = Draw();
  const std::initializer_list<int64_t> dims = {extents_.rows, extents_.columns};
  const DeviceTensor gpu_f(dtype_, f, *gpu_), gpu_da(dtype_, da, *gpu_);
  const DeviceTensor a(dtype_, dims, *gpu_), df(dtype_, dims, *gpu_);
  const auto narrow = [&](const DeviceTensor& wide) {
    const std::vector<double> values = wide.Values();
    const int64_t stride = extents_.columns + extents_.gap;
    HostTensor<double> result(dims);
    for (int64_t t = 0; t < extents_.rows; ++t) {
      for (int64_t c = 0; c < extents_.columns; ++c) {
        result[t * extents_.columns + c] = values[t * stride + extents_.gap + c];
      }
    }
    return result.values();
  };
  const DeviceTensor backward(dtype_, da, *gpu_);
  ASSERT_THAT(
      GeluBackward({.da_TF = Slice(gpu_da.view()), .f_TF = Slice(gpu_f.view()), .df_TF = df.view()},
                   *gpu_),
      IsOk());
  ASSERT_THAT(GeluBackward({.da_TF = Slice(backward.view()),
                            .f_TF = Slice(gpu_f.view()),
                            .df_TF = Slice(backward.view())},
                           *gpu_),
              IsOk());
  EXPECT_EQ(narrow(backward), df.Values());
  const DeviceTensor forward(dtype_, f, *gpu_);
  ASSERT_THAT(SquaredReluForward(Slice(gpu_f.view()), {}, a.view(), *gpu_), IsOk());
  ASSERT_THAT(SquaredReluForward(Slice(forward.view()), {}, Slice(forward.view()), *gpu_), IsOk());
  EXPECT_EQ(narrow(forward), a.Values());
}

INSTANTIATE_TEST_SUITE_P(Extents, ActivationCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
