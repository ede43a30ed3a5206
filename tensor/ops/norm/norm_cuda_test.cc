#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// A warp and a block a row, rows that a thread of the block holds one, two and four vectors of and
// longer ones, whole vectors and odd columns, parts of one and of many rows.
constexpr SliceExtents kExtents[] = {{1, 1, 0},      {5, 37, 3},    {9, 128, 8},   {70, 1030, 2},
                                     {33, 2688, 0},  {3, 4104, 8},  {4500, 24, 0}, {0, 16, 0},
                                     {1030, 520, 8}, {21, 4096, 0}, {3, 8200, 0}};

class NormCudaTest : public ::testing::TestWithParam<std::tuple<DType, bool, SliceExtents>> {
 protected:
  NormCudaTest()
      : dtype_(std::get<0>(GetParam())),
        centered_(std::get<1>(GetParam())),
        extents_(std::get<2>(GetParam())) {}

  HostTensor<double> Draw() {
    return NormalFor(dtype_, {extents_.rows, extents_.columns + extents_.gap}, generator_);
  }
  HostTensor<double> DrawVector() { return NormalFor(dtype_, {extents_.columns}, generator_); }

  template <typename View>
  View Slice(const View& view) const {
    return view.Columns(extents_.gap, extents_.columns);
  }

  absl::Status Forward(const NormForwardArgs& args, Stream& stream) const {
    return centered_ ? LayerNormForward(args, stream) : RmsNormForward(args, stream);
  }
  absl::Status Backward(const NormBackwardArgs& args, Stream& stream) const {
    return centered_ ? LayerNormBackward(args, stream) : RmsNormBackward(args, stream);
  }

  // One rounding to storage, and sums of the columns inside.
  ErrorSpec Tolerance() const {
    return {.absolute = 32 * Epsilon<float>(), .relative = Epsilon(dtype_) + 32 * Epsilon<float>()};
  }
  // Sums over rows, in f32.
  static ErrorSpec SumTolerance() {
    return {.absolute = 64 * Epsilon<float>(), .relative_to_max = 64 * Epsilon<float>()};
  }

  DType dtype_;
  bool centered_;
  SliceExtents extents_;
  std::mt19937_64 generator_ = FreshGenerator();
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(NormCudaTest, ForwardAndBackwardEqualTheCpuAndThemselves) {
  const auto x = Draw(), residual = Draw(), dy = Draw(), dsum = Draw();
  const auto weight = DrawVector(), bias = DrawVector();
  const int64_t rows = extents_.rows, columns = extents_.columns;
  const DeviceTensor gpu_x(dtype_, x, *gpu_), gpu_residual(dtype_, residual, *gpu_),
      gpu_dy(dtype_, dy, *gpu_), gpu_dsum(dtype_, dsum, *gpu_), gpu_weight(dtype_, weight, *gpu_),
      gpu_bias(dtype_, bias, *gpu_);
  const DeviceTensor sum(dtype_, {rows, columns}, *gpu_), y(dtype_, {rows, columns}, *gpu_),
      mean(DType::kF32, {rows}, *gpu_), rstd(DType::kF32, {rows}, *gpu_);
  ASSERT_THAT(Forward({.x_TC = Slice(gpu_x.view()),
                       .residual_TC = Slice(gpu_residual.view()),
                       .weight_C = gpu_weight.view(),
                       .bias_C = gpu_bias.view(),
                       .sum_TC = sum.view(),
                       .y_TC = y.view(),
                       .mean_T = mean.view(),
                       .rstd_T = rstd.view()},
                      *gpu_),
              IsOk());
  std::vector<double> expected_sum;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = extents_.gap; c < columns + extents_.gap; ++c) {
      const int64_t at = t * (columns + extents_.gap) + c;
      expected_sum.push_back(x[at] + residual[at]);
    }
  }
  EXPECT_THAT(sum.Values(), IsCloseTo(expected_sum, {.relative = Epsilon(dtype_)}));

  // The sum as it was stored is what is normalised.
  const HostTensor<double> normalised({rows, columns}, sum.Values());
  HostTensor<double> expected_y({rows, columns}), expected_mean({rows}), expected_rstd({rows});
  ASSERT_THAT(Forward({.x_TC = normalised.view(),
                       .weight_C = weight.view(),
                       .bias_C = bias.view(),
                       .y_TC = expected_y.view(),
                       .mean_T = expected_mean.view(),
                       .rstd_T = expected_rstd.view()},
                      *cpu_),
              IsOk());
  EXPECT_THAT(y.Values(), IsCloseTo(expected_y.values(), Tolerance()));
  const ErrorSpec statistics{.absolute = 8 * Epsilon<float>(), .relative = 8 * Epsilon<float>()};
  EXPECT_THAT(rstd.Values(), IsCloseTo(expected_rstd.values(), statistics));
  if (centered_) {
    EXPECT_THAT(mean.Values(), IsCloseTo(expected_mean.values(), statistics));
  }

  const DeviceTensor dx(dtype_, {rows, columns}, *gpu_), again(dtype_, {rows, columns}, *gpu_);
  const DeviceTensor dweight(DType::kF32, {columns}, *gpu_), dbias(DType::kF32, {columns}, *gpu_),
      dweight_again(DType::kF32, {columns}, *gpu_), dbias_again(DType::kF32, {columns}, *gpu_);
  HostTensor<double> expected_dx({rows, columns}), expected_dweight({columns}),
      expected_dbias({columns});
  for (const bool accumulate : {false, true}) {
    NormBackwardArgs args{.dy_TC = Slice(dy.view()),
                          .x_TC = normalised.view(),
                          .weight_C = weight.view(),
                          .mean_T = expected_mean.view(),
                          .rstd_T = expected_rstd.view(),
                          .dsum_TC = Slice(dsum.view()),
                          .dx_TC = expected_dx.view(),
                          .dweight_C = expected_dweight.view(),
                          .dbias_C = expected_dbias.view(),
                          .accumulate = accumulate};
    ASSERT_THAT(Backward(args, *cpu_), IsOk());
    args.dy_TC = Slice(gpu_dy.view());
    args.x_TC = sum.view();
    args.weight_C = gpu_weight.view();
    args.mean_T = mean.view();
    args.rstd_T = rstd.view();
    args.dsum_TC = Slice(gpu_dsum.view());
    args.dx_TC = dx.view();
    args.dweight_C = dweight.view();
    args.dbias_C = dbias.view();
    ASSERT_THAT(Backward(args, *gpu_), IsOk());
    args.dx_TC = again.view();
    args.dweight_C = dweight_again.view();
    args.dbias_C = dbias_again.view();
    ASSERT_THAT(Backward(args, *gpu_), IsOk());
  }
  // Of weight dy rstd the projection may leave next to nothing, in a row of one column always.
  double largest = 0;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < columns; ++c) {
      const double of_y = dy[t * (columns + extents_.gap) + extents_.gap + c];
      largest = std::max(largest, std::abs(weight[c] * of_y * expected_rstd[t]));
    }
  }
  ErrorSpec projected = Tolerance();
  projected.absolute += 16 * Epsilon<float>() * largest;
  EXPECT_THAT(dx.Values(), IsCloseTo(expected_dx.values(), projected));
  EXPECT_THAT(dweight.Values(), IsCloseTo(expected_dweight.values(), SumTolerance()));
  EXPECT_EQ(dx.Bits(), again.Bits());
  EXPECT_EQ(dweight.Bits(), dweight_again.Bits());
  if (centered_) {
    EXPECT_THAT(dbias.Values(), IsCloseTo(expected_dbias.values(), SumTolerance()));
    EXPECT_EQ(dbias.Bits(), dbias_again.Bits());
  }
}

TEST_P(NormCudaTest, InPlaceAndInPartsIsTheSame) {
  const auto x = Draw(), residual = Draw(), dy = Draw();
  const auto weight = DrawVector(), bias = DrawVector();
  const int64_t rows = extents_.rows, columns = extents_.columns;
  const DeviceTensor gpu_weight(dtype_, weight, *gpu_), gpu_bias(dtype_, bias, *gpu_),
      gpu_residual(dtype_, residual, *gpu_), gpu_x(dtype_, x, *gpu_);
  const DeviceTensor sum(dtype_, {rows, columns}, *gpu_), y(dtype_, {rows, columns}, *gpu_),
      mean(DType::kF32, {rows}, *gpu_), rstd(DType::kF32, {rows}, *gpu_);
  NormForwardArgs args{.x_TC = Slice(gpu_x.view()),
                       .residual_TC = Slice(gpu_residual.view()),
                       .weight_C = gpu_weight.view(),
                       .bias_C = gpu_bias.view(),
                       .sum_TC = sum.view(),
                       .y_TC = y.view(),
                       .mean_T = mean.view(),
                       .rstd_T = rstd.view()};
  ASSERT_THAT(Forward(args, *gpu_), IsOk());
  const DeviceTensor in_place(dtype_, x, *gpu_);
  args.x_TC = Slice(in_place.view());
  args.sum_TC = Slice(in_place.view());
  ASSERT_THAT(Forward(args, *gpu_), IsOk());
  args = {.x_TC = sum.view(),
          .weight_C = gpu_weight.view(),
          .bias_C = gpu_bias.view(),
          .y_TC = sum.view(),
          .mean_T = mean.view(),
          .rstd_T = rstd.view()};
  const DeviceTensor kept(dtype_, HostTensor<double>({rows, columns}, sum.Values()), *gpu_);
  ASSERT_THAT(Forward(args, *gpu_), IsOk());
  EXPECT_EQ(sum.Bits(), y.Bits());

  const DeviceTensor dx(dtype_, {rows, columns}, *gpu_), gradient(dtype_, dy, *gpu_),
      dweight(DType::kF32, {columns}, *gpu_), dbias(DType::kF32, {columns}, *gpu_),
      dweight_alone(DType::kF32, {columns}, *gpu_), dbias_alone(DType::kF32, {columns}, *gpu_);
  NormBackwardArgs backward{.dy_TC = Slice(gradient.view()),
                            .x_TC = kept.view(),
                            .weight_C = gpu_weight.view(),
                            .mean_T = mean.view(),
                            .rstd_T = rstd.view(),
                            .dx_TC = dx.view(),
                            .dweight_C = dweight.view(),
                            .dbias_C = dbias.view(),
                            .accumulate = false};
  ASSERT_THAT(Backward(backward, *gpu_), IsOk());
  backward.dx_TC = {};
  backward.dweight_C = dweight_alone.view();
  backward.dbias_C = dbias_alone.view();
  ASSERT_THAT(Backward(backward, *gpu_), IsOk());
  EXPECT_EQ(dweight.Bits(), dweight_alone.Bits());
  if (centered_) {
    EXPECT_EQ(dbias.Bits(), dbias_alone.Bits());
  }
  backward.dx_TC = Slice(gradient.view());
  backward.dweight_C = backward.dbias_C = {};
  ASSERT_THAT(Backward(backward, *gpu_), IsOk());
  const std::vector<double> expected = dx.Values(), wide = gradient.Values();
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < columns; ++c) {
      ASSERT_EQ(wide[t * (columns + extents_.gap) + extents_.gap + c], expected[t * columns + c]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Extents, NormCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::Bool(), ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
