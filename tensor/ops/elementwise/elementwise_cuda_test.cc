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
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// Whole vectors, odd ones, more than one block, and slices of columns that start unaligned.
constexpr SliceExtents kExtents[] = {{1, 1, 0},  {5, 37, 3},    {64, 128, 0}, {64, 128, 64},
                                     {3, 40, 1}, {1, 70001, 0}, {257, 72, 8}, {0, 5, 2}};

class ElementwiseCudaTest : public ::testing::TestWithParam<std::tuple<DType, SliceExtents>> {
 protected:
  ElementwiseCudaTest()
      : dtype_(std::get<0>(GetParam())),
        extents_(std::get<1>(GetParam())),
        dims_({extents_.rows, extents_.columns + extents_.gap}) {}

  HostTensor<double> Draw() { return NormalFor(dtype_, {dims_[0], dims_[1]}, generator_); }

  TensorView Slice(const TensorView& view) const {
    return view.Columns(extents_.gap, extents_.columns);
  }

  // One rounding of the result, and in f32 up to two inside.
  ErrorSpec Tolerance() const {
    return {.absolute = 4 * Epsilon<float>(), .relative = Epsilon(dtype_)};
  }

  DType dtype_;
  SliceExtents extents_;
  std::vector<int64_t> dims_;
  std::mt19937_64 generator_ = FreshGenerator();
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(ElementwiseCudaTest, EqualsTheCpuAndKeepsTheGaps) {
  auto a = Draw(), b = Draw(), c = Draw();
  DeviceTensor gpu_a(dtype_, a, *gpu_), gpu_b(dtype_, b, *gpu_), gpu_c(dtype_, c, *gpu_);
  ASSERT_THAT(Add(Slice(a.view()), Slice(b.view()), Slice(c.view()), *cpu_), IsOk());
  ASSERT_THAT(Add(Slice(gpu_a.view()), Slice(gpu_b.view()), Slice(gpu_c.view()), *gpu_), IsOk());
  EXPECT_THAT(gpu_c.Values(), IsCloseTo(c.values(), Tolerance()));

  ASSERT_THAT(Fill(0.75, Slice(b.view()), *cpu_), IsOk());
  ASSERT_THAT(Fill(0.75, Slice(gpu_b.view()), *gpu_), IsOk());
  EXPECT_THAT(gpu_b.Values(), IsCloseTo(b.values(), Tolerance()));
}

TEST_P(ElementwiseCudaTest, CopiesAndConverts) {
  const auto source = Draw();
  const DeviceTensor gpu_source(dtype_, source, *gpu_);
  for (const DType to : {DType::kBF16, DType::kF32, DType::kF64}) {
    auto expected = source;
    for (double& value : expected.values()) {
      if (to != DType::kF64) value = static_cast<float>(value);
      if (to == DType::kBF16) value = static_cast<float>(BFloat16(static_cast<float>(value)));
    }
    DeviceTensor copy(to, {dims_[0], dims_[1]}, *gpu_);
    ASSERT_THAT(Fill(0, copy.view(), *gpu_), IsOk());
    ASSERT_THAT(Copy(Slice(gpu_source.view()), Slice(copy.view()), *gpu_), IsOk());
    for (int64_t r = 0; r < extents_.rows; ++r) {
      for (int64_t c = 0; c < extents_.gap; ++c) expected[r * dims_[1] + c] = 0;
    }
    EXPECT_EQ(copy.Values(), expected.values());
  }
}

INSTANTIATE_TEST_SUITE_P(Extents, ElementwiseCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16,
                                                              DType::kF64),
                                            ::testing::ValuesIn(kExtents)));

TEST(ElementwiseCudaTest, IntegersAreFilledAndCopied) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  for (const DType dtype : {DType::kI32, DType::kI64}) {
    const DeviceTensor x(dtype, {7, 5}, *gpu), y(dtype, {7, 3}, *gpu);
    ASSERT_THAT(Fill(-3, x.view(), *gpu), IsOk());
    ASSERT_THAT(Copy(x.view().Columns(1, 3), y.view(), *gpu), IsOk());
    EXPECT_THAT(y.Values(), ::testing::Each(-3.0));
  }
  const DeviceTensor counts(DType::kI64, HostTensor<int64_t>({3}, {1, -2, int64_t{1} << 53}), *gpu),
      numbers(DType::kF64, {3}, *gpu);
  ASSERT_THAT(Copy(counts.view(), numbers.view(), *gpu), IsOk());
  EXPECT_THAT(numbers.Values(), ::testing::ElementsAre(1.0, -2.0, 0x1p53));
}

}  // namespace
}  // namespace hetero
