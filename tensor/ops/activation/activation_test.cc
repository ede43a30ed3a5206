#include "hetero/tensor/ops/activation/activation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(GeluTest, WorkedExample) {
  const HostTensor<float> f({1, 5}, {1, -1, 3, -3, .5});
  HostTensor<float> a({1, 5});
  StreamWithWorkspace stream;
  ASSERT_THAT(GeluForward(GeluForm::kTanh, f.view(), {}, a.view(), *stream), IsOk());
  EXPECT_THAT(a.values(),
              IsCloseTo(std::vector{0.841192, -0.158808, 2.9963626, -0.0036374, 0.345714},
                        ErrorSpec{.absolute = 2e-6}));
  // torch.nn.functional.gelu of torch 2.11.
  ASSERT_THAT(GeluForward(GeluForm::kErf, f.view(), {}, a.view(), *stream), IsOk());
  EXPECT_THAT(a.values(), IsCloseTo(std::vector{0.841344746, -0.158655254, 2.995950306,
                                                -0.004049694, 0.345731231},
                                    ErrorSpec{.relative = 4 * Epsilon<float>()}));
}

class GeluFormTest : public ::testing::TestWithParam<GeluForm> {};

TEST_P(GeluFormTest, FloatFollowsDoubleOverTheWholeRange) {
  constexpr int64_t kCount = 4001;
  HostTensor<double> f({1, kCount}), a({1, kCount}), da({1, kCount}), df({1, kCount});
  for (int64_t i = 0; i < kCount; ++i) {
    f[i] = (i - kCount / 2) * 0.01;
    da[i] = 1;
  }
  auto f32 = f.As<float>(), da32 = da.As<float>();
  HostTensor<float> a32({1, kCount}), df32({1, kCount});
  StreamWithWorkspace stream;
  ASSERT_THAT(GeluForward(GetParam(), f.view(), {}, a.view(), *stream), IsOk());
  ASSERT_THAT(GeluForward(GetParam(), f32.view(), {}, a32.view(), *stream), IsOk());
  GeluBackwardArgs args{
      .form = GetParam(), .da_TF = da.view(), .f_TF = f.view(), .df_TF = df.view()};
  ASSERT_THAT(GeluBackward(args, *stream), IsOk());
  args.da_TF = da32.view();
  args.f_TF = f32.view();
  args.df_TF = df32.view();
  ASSERT_THAT(GeluBackward(args, *stream), IsOk());
  const ErrorSpec spec{.absolute = 16 * Epsilon<float>(), .relative = 4 * Epsilon<float>()};
  EXPECT_THAT(a32.values(), IsCloseTo(a.values(), spec));
  EXPECT_THAT(df32.values(), IsCloseTo(df.values(), spec));
}

INSTANTIATE_TEST_SUITE_P(Forms, GeluFormTest, ::testing::Values(GeluForm::kTanh, GeluForm::kErf));

TEST(GeluTest, ErfFormIsXTimesTheNormalDistribution) {
  constexpr int64_t kCount = 1201;
  HostTensor<double> f({1, kCount}), a({1, kCount});
  std::vector<double> expected;
  for (int64_t i = 0; i < kCount; ++i) {
    f[i] = (i - kCount / 2) * 0.01;
    expected.push_back(f[i] * std::erfc(-f[i] / std::sqrt(2.0)) / 2);
  }
  auto f32 = f.As<float>();
  HostTensor<float> a32({1, kCount});
  StreamWithWorkspace stream;
  ASSERT_THAT(GeluForward(GeluForm::kErf, f.view(), {}, a.view(), *stream), IsOk());
  EXPECT_THAT(a.values(), IsCloseTo(expected, {.relative = 1e-15}));
  // exp(-x² / 2) of a rounded square is off by x² / 2 units: 18 at |x| = 6.
  ASSERT_THAT(GeluForward(GeluForm::kErf, f32.view(), {}, a32.view(), *stream), IsOk());
  for (int64_t i = 0; i < kCount; ++i) {
    expected[i] = static_cast<double>(f32[i]) * std::erfc(-f32[i] / std::sqrt(2.0)) / 2;
  }
  EXPECT_THAT(a32.values(), IsCloseTo(expected, {.relative = 24 * Epsilon<float>()}));
}

constexpr int64_t kColumns = 21, kGap = 2;

template <typename Loss>
std::vector<double> NumericGradient(HostTensor<double>& parameter, const Loss& loss) {
  std::vector<double> gradient;
  for (double& value : parameter.values()) {
    const double kept = value;
    value = kept + 1e-5;
    const double above = loss();
    value = kept - 1e-5;
    gradient.push_back((above - loss()) / 2e-5);
    value = kept;
  }
  return gradient;
}

// A forward pass over columns [0, kColumns) of wider matrices; `vector` is p or bias.
class ActivationTest : public ::testing::TestWithParam<int64_t> {
 protected:
  template <typename Forward>
  double Loss(const Forward& forward) {
    HostTensor<double> a({rows, kColumns + kGap});
    EXPECT_THAT(forward(a.view().Columns(0, kColumns)), IsOk());
    double loss = 0;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < kColumns; ++c)
        loss += a[t * (kColumns + kGap) + c] * da[t * kColumns + c];
    }
    return loss;
  }

  std::vector<double> WithoutGaps(const std::vector<double>& wide) const {
    std::vector<double> narrow;
    for (int64_t t = 0; t < rows; ++t) {
      const auto row = wide.begin() + t * (kColumns + kGap);
      narrow.insert(narrow.end(), row, row + kColumns);
    }
    return narrow;
  }

  void CheckGelu(GeluForm form) {
    auto bias = HostTensor<double>::Normal({kColumns}, generator);
    HostTensor<double> df({rows, kColumns}), dbias({kColumns});
    const auto loss = [&] {
      return Loss([&](const TensorView& out) {
        return GeluForward(form, f_view, bias.view(), out, *stream);
      });
    };
    GeluBackwardArgs args{.form = form,
                          .da_TF = da.view(),
                          .f_TF = f_view,
                          .bias_F = bias.view(),
                          .df_TF = df.view(),
                          .dbias_F = dbias.view(),
                          .accumulate = false};
    ASSERT_THAT(GeluBackward(args, *stream), IsOk());
    args.accumulate = true;
    ASSERT_THAT(GeluBackward(args, *stream), IsOk());
    EXPECT_THAT(df.values(), IsCloseTo(WithoutGaps(NumericGradient(f, loss)), spec));
    std::vector<double> twice = NumericGradient(bias, loss);
    for (double& value : twice) value *= 2;
    EXPECT_THAT(dbias.values(), IsCloseTo(twice, spec));
    HostTensor<double> in_place = da;
    args.da_TF = in_place.view();
    args.df_TF = in_place.view();
    args.dbias_F = {};
    ASSERT_THAT(GeluBackward(args, *stream), IsOk());
    EXPECT_EQ(in_place.values(), df.values());
  }

  const int64_t rows = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<double> f = HostTensor<double>::Normal({rows, kColumns + kGap}, generator);
  HostTensor<double> da = HostTensor<double>::Normal({rows, kColumns}, generator);
  TensorView f_view = f.view().Columns(0, kColumns);
  StreamWithWorkspace stream;
  const ErrorSpec spec{.absolute = 1e-8, .relative = 1e-7};
};

TEST_P(ActivationTest, SquaredReluForwardAndBackward) {
  // No difference is taken across the kink.
  for (double& value : f.values()) value += std::copysign(1e-4, value);
  auto p = HostTensor<double>::Normal({rows}, generator);
  HostTensor<double> a({rows, kColumns}), df({rows, kColumns}), dp({rows});
  ASSERT_THAT(SquaredReluForward(f_view, p.view(), a.view(), *stream), IsOk());
  std::vector<double> expected;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < kColumns; ++c) {
      expected.push_back(std::pow(std::max(f[t * (kColumns + kGap) + c], 0.0), 2) * p[t]);
    }
  }
  EXPECT_THAT(a.values(), IsCloseTo(expected, {.relative = 1e-15}));

  const auto loss = [&] {
    return Loss(
        [&](const TensorView& out) { return SquaredReluForward(f_view, p.view(), out, *stream); });
  };
  ASSERT_THAT(SquaredReluBackward({.da_TF = da.view(),
                                   .f_TF = f_view,
                                   .p_T = p.view(),
                                   .df_TF = df.view(),
                                   .dp_T = dp.view()},
                                  *stream),
              IsOk());
  EXPECT_THAT(df.values(), IsCloseTo(WithoutGaps(NumericGradient(f, loss)), spec));
  EXPECT_THAT(dp.values(), IsCloseTo(NumericGradient(p, loss), spec));
}

TEST_P(ActivationTest, SquaredReluWithoutFactorIsFactorOne) {
  HostTensor<double> ones({rows}, std::vector<double>(rows, 1.0));
  HostTensor<double> with({rows, kColumns}), without({rows, kColumns});
  ASSERT_THAT(SquaredReluForward(f_view, ones.view(), with.view(), *stream), IsOk());
  ASSERT_THAT(SquaredReluForward(f_view, {}, without.view(), *stream), IsOk());
  EXPECT_EQ(with.values(), without.values());
  for (const auto& [p, df] : {std::pair(ones.view(), &with), {TensorView(), &without}}) {
    ASSERT_THAT(SquaredReluBackward(
                    {.da_TF = da.view(), .f_TF = f_view, .p_T = p, .df_TF = df->view()}, *stream),
                IsOk());
  }
  EXPECT_EQ(with.values(), without.values());
}

TEST_P(ActivationTest, GeluBackwardIsTheDerivativeOfForward) {
  for (const GeluForm form : {GeluForm::kTanh, GeluForm::kErf}) CheckGelu(form);
}

// f has one column more than kColumns, the gates of the first half.
TEST_P(ActivationTest, SwiGluForwardAndBackward) {
  constexpr int64_t kHalf = (kColumns + 1) / 2;
  const TensorView f_TD = f.view().Columns(1, 2 * kHalf);
  const auto at = [&](int64_t t, int64_t c) { return f[t * (kColumns + kGap) + 1 + c]; };
  const auto bias = HostTensor<double>::Normal({2 * kHalf}, generator);
  const ConstTensorView da_TF = da.view().Columns(0, kHalf);
  for (const bool biased : {true, false}) {
    const ConstTensorView bias_view = biased ? ConstTensorView(bias.view()) : ConstTensorView();
    std::vector<double> expected, df_expected, dbias_expected(2 * kHalf);
    for (int64_t t = 0; t < rows; ++t) {
      std::vector<double> d_up;
      for (int64_t c = 0; c < kHalf; ++c) {
        const double gate = at(t, c) + (biased ? bias[c] : 0);
        const double up = at(t, kHalf + c) + (biased ? bias[kHalf + c] : 0);
        const double s = 1 / (1 + std::exp(-gate));
        expected.push_back(gate * s * up);
        const double d = da[t * kColumns + c];
        df_expected.push_back(d * up * (s + gate * s * (1 - s)));
        d_up.push_back(d * gate * s);
        dbias_expected[c] += 2 * df_expected.back();
        dbias_expected[kHalf + c] += 2 * d_up.back();
      }
      df_expected.insert(df_expected.end(), d_up.begin(), d_up.end());
    }
    HostTensor<double> a({rows, kHalf}), df({rows, 2 * kHalf}), dbias({2 * kHalf});
    ASSERT_THAT(SwiGluForward(f_TD, bias_view, a.view(), *stream), IsOk());
    const ErrorSpec close{.absolute = 1e-14, .relative = 1e-14};
    EXPECT_THAT(a.values(), IsCloseTo(expected, close));
    SwiGluBackwardArgs args{.da_TF = da_TF,
                            .f_TD = f_TD,
                            .bias_D = bias_view,
                            .df_TD = df.view(),
                            .dbias_D = dbias.view(),
                            .accumulate = false};
    ASSERT_THAT(SwiGluBackward(args, *stream), IsOk());
    args.accumulate = true;
    ASSERT_THAT(SwiGluBackward(args, *stream), IsOk());
    EXPECT_THAT(df.values(), IsCloseTo(df_expected, close));
    // 2 * rows additions to sums of numbers that may reach 20 each and cancel.
    EXPECT_THAT(dbias.values(), IsCloseTo(dbias_expected, {.absolute = 1e-13, .relative = 1e-14}));

    // The formulas themselves against differences.
    HostTensor<double> narrow({rows, 2 * kHalf});
    for (int64_t i = 0; i < rows * 2 * kHalf; ++i) narrow[i] = at(i / (2 * kHalf), i % (2 * kHalf));
    const auto loss = [&] {
      HostTensor<double> out({rows, kHalf});
      EXPECT_THAT(SwiGluForward(narrow.view(), bias_view, out.view(), *stream), IsOk());
      double sum = 0;
      for (int64_t t = 0; t < rows; ++t) {
        for (int64_t c = 0; c < kHalf; ++c) sum += out[t * kHalf + c] * da[t * kColumns + c];
      }
      return sum;
    };
    EXPECT_THAT(df.values(), IsCloseTo(NumericGradient(narrow, loss), spec));
    HostTensor<double> in_place = narrow;
    ASSERT_THAT(SwiGluBackward({.da_TF = da_TF,
                                .f_TD = in_place.view(),
                                .bias_D = bias_view,
                                .df_TD = in_place.view()},
                               *stream),
                IsOk());
    EXPECT_EQ(in_place.values(), df.values());
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, ActivationTest, ::testing::Values(0, 1, 6));

TEST(ActivationErrorsTest, NameTheOperand) {
  HostTensor<float> f({2, 3}), a({2, 4}), p({3});
  StreamWithWorkspace stream;
  EXPECT_THAT(SquaredReluForward(f.view(), p.view(), a.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("p is f32[3]")));
  EXPECT_THAT(GeluForward(GeluForm::kTanh, f.view(), {}, a.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a is f32[2,4]")));
  EXPECT_THAT(SwiGluForward(f.view(), {}, a.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f has 3 columns")));
  EXPECT_THAT(SwiGluForward(a.view(), {}, f.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a is f32[2,3]")));
}

TEST(ActivationShapeOnlyTest, RecordsCost) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const TensorView f(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kF32, {640, 128});
  EXPECT_THAT(GeluBackward({.da_TF = f, .f_TF = f, .df_TF = f}, *stream), IsOk());
  EXPECT_EQ(stream->ledger().operations().at("gelu.backward").bytes, 3.0 * 640 * 128 * 4);
}

}  // namespace
}  // namespace hetero
