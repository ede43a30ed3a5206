#include "hetero/tensor/ops/norm/norm.h"

#include <cmath>
#include <functional>
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
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(RmsNormTest, WorkedExample) {
  const HostTensor<float> x({1, 4}, {1, -2, 3, .5}), weight({4}, {1, .5, 2, -1});
  const HostTensor<float> dy({1, 4}, {.1, .2, -.3, .4});
  HostTensor<float> y({1, 4}), rstd({1}), dx({1, 4}), dweight({4});
  StreamWithWorkspace stream;
  ASSERT_THAT(
      RmsNormForward(
          {.x_TC = x.view(), .weight_C = weight.view(), .y_TC = y.view(), .rstd_T = rstd.view()},
          *stream),
      IsOk());
  ASSERT_THAT(RmsNormBackward({.dy_TC = dy.view(),
                               .x_TC = x.view(),
                               .weight_C = weight.view(),
                               .rstd_T = rstd.view(),
                               .dx_TC = dx.view(),
                               .dweight_C = dweight.view(),
                               .accumulate = false},
                              *stream),
              IsOk());
  const ErrorSpec spec{.absolute = 1e-6};
  EXPECT_THAT(y.values(), IsCloseTo(std::vector{.5298122, -.5298122, 3.1788732, -.2649061}, spec));
  EXPECT_THAT(dx.values(), IsCloseTo(std::vector{.1310586, -.1031735, -.0836552, -.1728862}, spec));
  EXPECT_THAT(dweight.values(),
              IsCloseTo(std::vector{.0529812, -.2119249, -.4768310, .1059624}, spec));
}

TEST(LayerNormTest, WorkedExample) {
  const HostTensor<float> x({1, 4}, {1, -2, 3, .5}), weight({4}, {1, .5, 2, -1});
  const HostTensor<float> bias({4}, {.1, 0, -.1, 0});
  HostTensor<float> y({1, 4}), mean({1}), rstd({1});
  StreamWithWorkspace stream;
  ASSERT_THAT(LayerNormForward({.x_TC = x.view(),
                                .weight_C = weight.view(),
                                .bias_C = bias.view(),
                                .y_TC = y.view(),
                                .mean_T = mean.view(),
                                .rstd_T = rstd.view(),
                                .epsilon = 1e-6},
                               *stream),
              IsOk());
  EXPECT_THAT(y.values(), IsCloseTo(std::vector{0.3105587, -0.7369554, 2.5670767, 0.0701862},
                                    ErrorSpec{.absolute = 1e-6}));
}

// One normalisation, with everything it reads and writes, in columns [0, C) of wider matrices.
template <typename T>
struct Problem {
  Problem(int64_t rows, int64_t columns, bool centered, bool residual)
      : rows(rows), columns(columns), centered(centered), with_residual(residual) {}

  NormForwardArgs ForwardArgs() {
    return {.x_TC = x.view().Columns(0, columns),
            .residual_TC = with_residual ? residual.view() : TensorView(),
            .weight_C = weight.view(),
            .bias_C = centered ? bias.view() : TensorView(),
            .sum_TC = with_residual ? sum.view() : TensorView(),
            .y_TC = y.view().Columns(0, columns),
            .mean_T = centered ? mean.view() : TensorView(),
            .rstd_T = rstd.view(),
            .epsilon = 1e-3};
  }
  absl::Status Forward() {
    return centered ? LayerNormForward(ForwardArgs(), *stream)
                    : RmsNormForward(ForwardArgs(), *stream);
  }
  absl::Status Backward(const TensorView& dx, bool accumulate) {
    const NormBackwardArgs args{.dy_TC = dy.view(),
                                .x_TC = with_residual ? sum.view() : x.view().Columns(0, columns),
                                .weight_C = weight.view(),
                                .mean_T = centered ? mean.view() : TensorView(),
                                .rstd_T = rstd.view(),
                                .dsum_TC = with_residual ? dsum.view() : TensorView(),
                                .dx_TC = dx,
                                .dweight_C = dweight.view(),
                                .dbias_C = centered ? dbias.view() : TensorView(),
                                .accumulate = accumulate};
    return centered ? LayerNormBackward(args, *stream) : RmsNormBackward(args, *stream);
  }
  // Σ y∘dy + Σ sum∘dsum, of the kernel's own forward.
  double Loss() {
    EXPECT_THAT(Forward(), IsOk());
    double loss = 0;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < columns; ++c) {
        loss += y[t * (columns + kGap) + c] * dy[t * columns + c];
        if (with_residual) loss += sum[t * columns + c] * dsum[t * columns + c];
      }
    }
    return loss;
  }

  static constexpr int64_t kGap = 2;
  int64_t rows, columns;
  bool centered, with_residual;
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<T> x = HostTensor<T>::Normal({rows, columns + kGap}, generator);
  HostTensor<T> residual = HostTensor<T>::Normal({rows, columns}, generator);
  HostTensor<T> weight = HostTensor<T>::Normal({columns}, generator);
  HostTensor<T> bias = HostTensor<T>::Normal({columns}, generator);
  HostTensor<T> dy = HostTensor<T>::Normal({rows, columns}, generator);
  HostTensor<T> dsum = HostTensor<T>::Normal({rows, columns}, generator);
  HostTensor<T> sum{{rows, columns}}, y{{rows, columns + kGap}}, mean{{rows}}, rstd{{rows}};
  HostTensor<T> dx{{rows, columns}}, dweight{{columns}}, dbias{{columns}};
  StreamWithWorkspace stream;
};

class NormTest : public ::testing::TestWithParam<std::tuple<int64_t, int64_t, bool, bool>> {
 protected:
  template <typename T>
  Problem<T> Make() const {
    const auto [rows, columns, centered, residual] = GetParam();
    return Problem<T>(rows, columns, centered, residual);
  }
};

TEST_P(NormTest, ForwardEqualsTheDefinition) {
  auto problem = Make<float>();
  ASSERT_THAT(problem.Forward(), IsOk());
  const int64_t columns = problem.columns;
  std::vector<double> expected(problem.y.values().size(), 0);
  for (int64_t t = 0; t < problem.rows; ++t) {
    std::vector<double> row(columns);
    double mean = 0, squares = 0;
    for (int64_t c = 0; c < columns; ++c) {
      row[c] = problem.x[t * (columns + problem.kGap) + c];
      if (problem.with_residual) row[c] += problem.residual[t * columns + c];
      mean += row[c] / columns;
    }
    if (!problem.centered) mean = 0;
    for (double value : row) squares += (value - mean) * (value - mean) / columns;
    for (int64_t c = 0; c < columns; ++c) {
      expected[t * (columns + problem.kGap) + c] =
          (row[c] - mean) / std::sqrt(squares + 1e-3) * problem.weight[c] +
          (problem.centered ? problem.bias[c] : 0);
    }
    for (int64_t gap = columns; gap < columns + problem.kGap; ++gap) {
      float& untouched = problem.y[t * (columns + problem.kGap) + gap];
      EXPECT_TRUE(std::isnan(untouched));
      untouched = 0;
    }
  }
  EXPECT_THAT(problem.y.values(), IsCloseTo(expected, {.absolute = 16 * Epsilon<float>(),
                                                       .relative = 16 * Epsilon<float>()}));
}

TEST_P(NormTest, BackwardIsTheDerivativeOfForward) {
  auto problem = Make<double>();
  const auto numeric = [&](HostTensor<double>& parameter) {
    std::vector<double> gradient;
    for (double& value : parameter.values()) {
      const double kept = value;
      value = kept + 1e-5;
      const double above = problem.Loss();
      value = kept - 1e-5;
      gradient.push_back((above - problem.Loss()) / 2e-5);
      value = kept;
    }
    return gradient;
  };
  const std::vector<double> dx = numeric(problem.with_residual ? problem.residual : problem.x);
  std::vector<double> dweight = numeric(problem.weight);
  std::vector<double> dbias = numeric(problem.bias);
  ASSERT_THAT(problem.Forward(), IsOk());
  ASSERT_THAT(problem.Backward(problem.dx.view(), false), IsOk());
  ASSERT_THAT(problem.Backward({}, true), IsOk());

  std::vector<double> dx_without_gaps;
  const int64_t stride = problem.columns + (problem.with_residual ? 0 : problem.kGap);
  for (int64_t t = 0; t < problem.rows; ++t) {
    for (int64_t c = 0; c < problem.columns; ++c) dx_without_gaps.push_back(dx[t * stride + c]);
  }
  const ErrorSpec spec{.absolute = 1e-7, .relative = 1e-7};
  EXPECT_THAT(problem.dx.values(), IsCloseTo(dx_without_gaps, spec));
  for (double& value : dweight) value *= 2;
  for (double& value : dbias) value *= 2;
  EXPECT_THAT(problem.dweight.values(), IsCloseTo(dweight, spec));
  if (problem.centered) {
    EXPECT_THAT(problem.dbias.values(), IsCloseTo(dbias, spec));
  }
}

TEST_P(NormTest, BackwardInPlaceIsBitwiseTheSame) {
  auto problem = Make<float>();
  ASSERT_THAT(problem.Forward(), IsOk());
  ASSERT_THAT(problem.Backward(problem.dx.view(), false), IsOk());
  HostTensor<float>& storage = problem.with_residual ? problem.dsum : problem.dy;
  ASSERT_THAT(problem.Backward(storage.view(), false), IsOk());
  EXPECT_EQ(storage.values(), problem.dx.values());
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormTest,
                         ::testing::Combine(::testing::Values(0, 1, 5),
                                            ::testing::Values(1, 33, 64), ::testing::Bool(),
                                            ::testing::Bool()));

TEST(NormErrorsTest, NameTheOperand) {
  Problem<float> problem(3, 8, true, false);
  NormForwardArgs args = problem.ForwardArgs();
  args.mean_T = {};
  EXPECT_THAT(LayerNormForward(args, *problem.stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("layer_norm.forward"), HasSubstr("mean"))));
}

TEST(NormShapeOnlyTest, RecordsCost) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const auto nowhere = [](std::initializer_list<int64_t> dims) {
    return TensorView(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kF32, dims);
  };
  EXPECT_THAT(RmsNormForward({.x_TC = nowhere({384, 128}),
                              .weight_C = nowhere({128}),
                              .y_TC = nowhere({384, 128}),
                              .rstd_T = nowhere({384})},
                             *stream),
              IsOk());
  EXPECT_EQ(stream->ledger().operations().at("rms_norm.forward").bytes, 2.0 * 384 * 128 * 4);
}

}  // namespace
}  // namespace hetero
