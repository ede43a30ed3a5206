#include "hetero/tensor/ops/layer_scale/layer_scale.h"

#include <cstdint>
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
using ::testing::HasSubstr;

constexpr int64_t kChannels = 21, kGap = 2, kStride = kChannels + kGap;

// Columns [0, kChannels) of wider matrices.
class LayerScaleTest : public ::testing::TestWithParam<int64_t> {
 protected:
  static TensorView Slice(HostTensor<double>& matrix) {
    return matrix.view().Columns(0, kChannels);
  }

  const int64_t rows = GetParam();
  std::mt19937_64 generator = FreshGenerator();
  HostTensor<double> x = HostTensor<double>::Normal({rows, kStride}, generator);
  HostTensor<double> residual = HostTensor<double>::Normal({rows, kStride}, generator);
  HostTensor<double> scale = HostTensor<double>::Normal({kChannels}, generator);
  HostTensor<double> dy = HostTensor<double>::Normal({rows, kStride}, generator);
  StreamWithWorkspace stream;
};

TEST_P(LayerScaleTest, ForwardIsTheFormula) {
  HostTensor<double> y({rows, kChannels});
  std::vector<double> expected;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < kChannels; ++c) {
      expected.push_back(residual[t * kStride + c] + scale[c] * x[t * kStride + c]);
    }
  }
  ASSERT_THAT(LayerScaleForward({.x_TC = Slice(x),
                                 .residual_TC = Slice(residual),
                                 .scale_C = scale.view(),
                                 .y_TC = y.view()},
                                *stream),
              IsOk());
  // A fused product is not rounded.
  const ErrorSpec spec{.absolute = 1e-14, .relative = 1e-15};
  EXPECT_THAT(y.values(), IsCloseTo(expected, spec));
  for (HostTensor<double>* const in_place : {&x, &residual}) {
    HostTensor<double> own_x = x, own_residual = residual;
    HostTensor<double>& out = in_place == &x ? own_x : own_residual;
    ASSERT_THAT(LayerScaleForward({.x_TC = Slice(own_x),
                                   .residual_TC = Slice(own_residual),
                                   .scale_C = scale.view(),
                                   .y_TC = Slice(out)},
                                  *stream),
                IsOk());
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < kChannels; ++c) {
        EXPECT_EQ(out[t * kStride + c], y[t * kChannels + c]);
      }
    }
  }
}

// y is linear in each operand, so that differences have no error but rounding's.
TEST_P(LayerScaleTest, GradientsMatchDifferences) {
  const auto loss = [&] {
    HostTensor<double> y({rows, kChannels});
    EXPECT_THAT(LayerScaleForward({.x_TC = Slice(x),
                                   .residual_TC = Slice(residual),
                                   .scale_C = scale.view(),
                                   .y_TC = y.view()},
                                  *stream),
                IsOk());
    double sum = 0;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < kChannels; ++c) sum += y[t * kChannels + c] * dy[t * kStride + c];
    }
    return sum;
  };
  const auto difference = [&](double& value) {
    const double kept = value;
    value = kept + 0.5;
    const double above = loss();
    value = kept - 0.5;
    const double below = loss();
    value = kept;
    return above - below;
  };
  HostTensor<double> dx({rows, kChannels}), dscale({kChannels});
  LayerScaleBackwardArgs args{.dy_TC = Slice(dy),
                              .x_TC = Slice(x),
                              .scale_C = scale.view(),
                              .dx_TC = dx.view(),
                              .dscale_C = dscale.view()};
  ASSERT_THAT(LayerScaleBackward(args, *stream), IsOk());
  std::vector<double> expected_dx, expected_dscale;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < kChannels; ++c) {
      expected_dx.push_back(difference(x[t * kStride + c]));
    }
  }
  for (double& value : scale.values()) expected_dscale.push_back(difference(value));
  const ErrorSpec spec{.absolute = 1e-11, .relative = 1e-11};
  EXPECT_THAT(dx.values(), IsCloseTo(expected_dx, spec));
  EXPECT_THAT(dscale.values(), IsCloseTo(expected_dscale, spec));

  args.accumulate = true;
  ASSERT_THAT(LayerScaleBackward(args, *stream), IsOk());
  for (double& value : expected_dscale) value *= 2;
  EXPECT_THAT(dscale.values(), IsCloseTo(expected_dscale, spec));

  // In place of dy and of x, without the gradient of the scale.
  args.dscale_C = {};
  for (HostTensor<double>* const in_place : {&dy, &x}) {
    HostTensor<double> own = *in_place;
    LayerScaleBackwardArgs onto = args;
    (in_place == &dy ? onto.dy_TC : onto.x_TC) = Slice(own);
    onto.dx_TC = Slice(own);
    ASSERT_THAT(LayerScaleBackward(onto, *stream), IsOk());
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = 0; c < kChannels; ++c) {
        EXPECT_EQ(own[t * kStride + c], dx[t * kChannels + c]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, LayerScaleTest, ::testing::Values(0, 1, 5, 67));

TEST(LayerScaleTest, OperandsThatDoNotFitAreRefused) {
  HostTensor<float> x({3, 4}), narrow({3, 2}), scale({4}), y({3, 4});
  StreamWithWorkspace stream;
  const auto status = [&](const TensorView& residual, const TensorView& of_channels) {
    return LayerScaleForward(
        {.x_TC = x.view(), .residual_TC = residual, .scale_C = of_channels, .y_TC = y.view()},
        *stream);
  };
  EXPECT_THAT(status(narrow.view(), scale.view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("residual")));
  EXPECT_THAT(status(x.view(), y.view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scale")));
}

}  // namespace
}  // namespace hetero
