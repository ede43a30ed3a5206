#include "hetero/tensor/ops/gated_norm/gated_norm.h"

#include <cmath>
#include <random>
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
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr double kEpsilon = 1e-5;

// z and its gradient are the first columns of a matrix wider by kMargin.
constexpr int64_t kMargin = 3;

template <typename T>
struct Case {
  int64_t rows, channels, groups;
  HostTensor<T> y, wide_z, weight, d_out;

  GatedNormInputs Inputs() {
    return {.y_TI = y.view(),
            .z_TI = wide_z.view().Columns(0, channels),
            .weight_I = weight.view(),
            .num_groups = groups,
            .epsilon = kEpsilon};
  }
};

Case<double> RandomCase(int64_t rows, int64_t channels, int64_t groups) {
  std::mt19937_64 random = FreshGenerator();
  return {rows,
          channels,
          groups,
          HostTensor<double>::Normal({rows, channels}, random),
          HostTensor<double>::Normal({rows, channels + kMargin}, random),
          HostTensor<double>::Normal({channels}, random),
          HostTensor<double>::Normal({rows, channels}, random)};
}

Case<float> AsFloat(const Case<double>& c) {
  return {c.rows,
          c.channels,
          c.groups,
          c.y.As<float>(),
          c.wide_z.As<float>(),
          c.weight.As<float>(),
          c.d_out.As<float>()};
}

template <typename T>
std::vector<T> Forward(Case<T>& c) {
  StreamWithWorkspace stream;
  HostTensor<T> out({c.rows, c.channels});
  EXPECT_THAT(GatedNormForward(c.Inputs(), out.view(), *stream), IsOk());
  return out.values();
}

template <typename T>
std::vector<double> Naive(const Case<T>& c) {
  std::vector<double> out(c.rows * c.channels);
  const int64_t n = c.channels / c.groups;
  for (int64_t t = 0; t < c.rows; ++t) {
    for (int64_t g = 0; g < c.groups; ++g) {
      double squares = 0;
      for (int64_t i = g * n; i < (g + 1) * n; ++i) {
        const double z = c.wide_z[t * (c.channels + kMargin) + i];
        out[t * c.channels + i] = c.y[t * c.channels + i] * z / (1 + std::exp(-z));
        squares += out[t * c.channels + i] * out[t * c.channels + i];
      }
      for (int64_t i = g * n; i < (g + 1) * n; ++i) {
        out[t * c.channels + i] *= c.weight[i] / std::sqrt(squares / n + kEpsilon);
      }
    }
  }
  return out;
}

template <typename T>
struct Gradients {
  HostTensor<T> y, wide_z, weight;
};

template <typename T>
Gradients<T> Backward(Case<T>& c, const HostTensor<T>* initial_weight = nullptr) {
  StreamWithWorkspace stream;
  Gradients<T> g{{c.rows, c.channels}, {c.rows, c.channels + kMargin}, {c.channels}};
  if (initial_weight != nullptr) g.weight = *initial_weight;
  EXPECT_THAT(GatedNormBackward(c.Inputs(), c.d_out.view(),
                                {.d_y_TI = g.y.view(),
                                 .d_z_TI = g.wide_z.view().Columns(0, c.channels),
                                 .d_weight_I = g.weight.view(),
                                 .accumulate = initial_weight != nullptr},
                                *stream),
              IsOk());
  return g;
}

TEST(GatedNormTest, WorkedExample) {
  using Values = std::vector<float>;
  StreamWithWorkspace stream;
  const HostTensor<float> y({1, 4}, Values{1, -2, .5, 3});
  const HostTensor<float> z({1, 4}, Values{0, 1, -1, 2});
  const HostTensor<float> weight({4}, Values{1, 1, 2, .5});
  HostTensor<float> out({1, 4});
  ASSERT_THAT(
      GatedNormForward({y.view(), z.view(), weight.view(), 2, kEpsilon}, out.view(), *stream),
      IsOk());
  EXPECT_THAT(out.values(),
              IsCloseTo(std::vector{0., -1.4142069, -.0719457, .7068777}, {.absolute = 1e-6}));
}

TEST(GatedNormTest, ForwardAgreesWithTheNaiveLoop) {
  for (int64_t groups : {1, 2, 5}) {
    Case<double> c = RandomCase(7, 110, groups);
    EXPECT_THAT(Forward(c), IsCloseTo(Naive(c), {.relative_to_max = 32 * Epsilon<double>()}));
    Case<float> f = AsFloat(c);
    EXPECT_THAT(Forward(f), IsCloseTo(Naive(f), {.relative_to_max = 16 * Epsilon<float>()}));
  }
}

TEST(GatedNormTest, GradientsAgreeWithFiniteDifferences) {
  Case<double> c = RandomCase(3, 12, 3);
  const auto loss = [&] {
    const std::vector<double> out = Forward(c);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * c.d_out[i];
    return sum;
  };
  const auto expect = [&](HostTensor<double>& at, const HostTensor<double>& gradient,
                          const char* what) {
    for (size_t i = 0; i < at.values().size(); ++i) {
      if (&at == &c.wide_z && static_cast<int64_t>(i) % (c.channels + kMargin) >= c.channels) {
        EXPECT_TRUE(std::isnan(gradient[i])) << "written beside the slice";
        continue;
      }
      const double center = at[i], step = 1e-5;
      at[i] = center + step;
      const double up = loss();
      at[i] = center - step;
      const double down = loss();
      at[i] = center;
      EXPECT_NEAR(gradient[i], (up - down) / (2 * step), 1e-7 * (1 + std::fabs(gradient[i])))
          << what << " " << i;
    }
  };
  const Gradients<double> g = Backward(c);
  expect(c.y, g.y, "y");
  expect(c.wide_z, g.wide_z, "z");
  expect(c.weight, g.weight, "weight");
}

TEST(GatedNormTest, BackwardInPlaceAccumulatesAndRepeatsBitwise) {
  Case<float> c = AsFloat(RandomCase(5, 40, 2));
  const Gradients<float> once = Backward(c);
  const Gradients<float> twice = Backward(c, &once.weight);
  for (int64_t i = 0; i < c.channels; ++i) EXPECT_EQ(twice.weight[i], 2 * once.weight[i]);
  EXPECT_THAT(twice.y.values(), ElementsAreArray(once.y.values()));
  StreamWithWorkspace stream;
  HostTensor<float> d_z({c.rows, c.channels});
  ASSERT_THAT(GatedNormBackward(c.Inputs(), c.d_out.view(),
                                {.d_y_TI = c.d_out.view(), .d_z_TI = d_z.view(), .d_weight_I = {}},
                                *stream),
              IsOk());
  EXPECT_THAT(c.d_out.values(), ElementsAreArray(once.y.values()));
}

TEST(GatedNormTest, RejectsGroupsThatDoNotDivide) {
  StreamWithWorkspace stream;
  Case<float> c = AsFloat(RandomCase(2, 10, 3));
  HostTensor<float> out({2, 10});
  EXPECT_THAT(GatedNormForward(c.Inputs(), out.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("divisor of the 10")));
}

TEST(GatedNormTest, TheShapeOnlyDeviceCountsAndTouchesNothing) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  const TensorView x = arena.Allocate(DType::kF32, {6, 8}).value();
  const TensorView weight = arena.Allocate(DType::kF32, {8}).value();
  ASSERT_THAT(GatedNormBackward({x, x, weight, 2, kEpsilon}, x, {x, x, weight}, *stream), IsOk());
  EXPECT_EQ(stream->ledger().total_flops(), 24.0 * 6 * 8);
}

}  // namespace
}  // namespace hetero
