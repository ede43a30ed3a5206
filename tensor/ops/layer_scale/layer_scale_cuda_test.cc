#include <cstdint>
#include <random>
#include <tuple>
#include <utility>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/layer_scale/layer_scale.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr SliceExtents kExtents[] = {{1, 1, 0},     {5, 37, 3},   {9, 128, 8},   {70, 1030, 2},
                                     {33, 1536, 0}, {2, 9000, 8}, {4500, 24, 0}, {0, 16, 0}};

class LayerScaleCudaTest : public ::testing::TestWithParam<std::tuple<DType, SliceExtents>> {};

TEST_P(LayerScaleCudaTest, EqualsTheCpuAndItself) {
  const auto& [dtype, extents] = GetParam();
  const int64_t rows = extents.rows, columns = extents.columns, gap = extents.gap;
  std::mt19937_64 generator = FreshGenerator();
  StreamWithWorkspace cpu, gpu(DeviceKind::kCuda);
  const auto draw = [&, dtype = dtype] {
    return NormalFor(dtype, {rows, columns + gap}, generator);
  };
  const auto slice = [&](const auto& view) { return view.Columns(gap, columns); };
  const auto x = draw(), residual = draw(), dy = draw();
  const auto scale = NormalFor(dtype, {columns}, generator);
  const DeviceTensor gpu_x(dtype, x, *gpu), gpu_residual(dtype, residual, *gpu),
      gpu_dy(dtype, dy, *gpu), gpu_scale(dtype, scale, *gpu);
  const ErrorSpec values{.absolute = 16 * Epsilon<float>(),
                         .relative = Epsilon(dtype) + 4 * Epsilon<float>()};
  const ErrorSpec sums{.absolute = 64 * Epsilon<float>(), .relative_to_max = 64 * Epsilon<float>()};

  HostTensor<double> y({rows, columns}), dx({rows, columns}), dscale({columns});
  const DeviceTensor gpu_y(dtype, {rows, columns}, *gpu), gpu_dx(dtype, {rows, columns}, *gpu),
      dx_again(dtype, {rows, columns}, *gpu), gpu_dscale(DType::kF32, {columns}, *gpu),
      dscale_again(DType::kF32, {columns}, *gpu);
  ASSERT_THAT(LayerScaleForward({.x_TC = slice(x.view()),
                                 .residual_TC = slice(residual.view()),
                                 .scale_C = scale.view(),
                                 .y_TC = y.view()},
                                *cpu),
              IsOk());
  ASSERT_THAT(LayerScaleForward({.x_TC = slice(gpu_x.view()),
                                 .residual_TC = slice(gpu_residual.view()),
                                 .scale_C = gpu_scale.view(),
                                 .y_TC = gpu_y.view()},
                                *gpu),
              IsOk());
  EXPECT_THAT(gpu_y.Values(), IsCloseTo(y.values(), values));

  for (const bool accumulate : {false, true}) {
    ASSERT_THAT(LayerScaleBackward({.dy_TC = slice(dy.view()),
                                    .x_TC = slice(x.view()),
                                    .scale_C = scale.view(),
                                    .dx_TC = dx.view(),
                                    .dscale_C = dscale.view(),
                                    .accumulate = accumulate},
                                   *cpu),
                IsOk());
    for (const auto& [dx_view, dscale_view] :
         {std::pair(gpu_dx.view(), gpu_dscale.view()), {dx_again.view(), dscale_again.view()}}) {
      ASSERT_THAT(LayerScaleBackward({.dy_TC = slice(gpu_dy.view()),
                                      .x_TC = slice(gpu_x.view()),
                                      .scale_C = gpu_scale.view(),
                                      .dx_TC = dx_view,
                                      .dscale_C = dscale_view,
                                      .accumulate = accumulate},
                                     *gpu),
                  IsOk());
    }
    EXPECT_THAT(gpu_dx.Values(), IsCloseTo(dx.values(), values));
    EXPECT_THAT(gpu_dscale.Values(), IsCloseTo(dscale.values(), sums));
    EXPECT_EQ(gpu_dx.Bits(), dx_again.Bits());
    EXPECT_EQ(gpu_dscale.Bits(), dscale_again.Bits());
  }
}

INSTANTIATE_TEST_SUITE_P(Slices, LayerScaleCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(kExtents)));

}  // namespace
}  // namespace hetero
