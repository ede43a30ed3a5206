#include "hetero/tensor/view.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

static_assert(SizeOf(DType::kBF16) == 2 && ComputeDType(DType::kBF16) == DType::kF32);
static_assert(ComputeDType(DType::kF64) == DType::kF64);

TEST(ViewTest, SlicesAddressTheSameMemory) {
  std::vector<float> values(24);
  std::iota(values.begin(), values.end(), 0.0f);
  const TensorView x(std::span<float>(values), {4, 6});
  const TensorView block = x.Rows(1, 2).Columns(2, 3);
  EXPECT_FALSE(block.is_contiguous());
  EXPECT_EQ(block.ToString(), "f32[2,3] strides [6,1]");
  EXPECT_EQ(block.At(1).data<float>()[0], 14.0f);
  EXPECT_TRUE(x.Rows(1, 2).is_contiguous());
  EXPECT_EQ(x.Rows(1, 2).Reshape({3, 4}).At(2).data<float>()[3], 17.0f);
  const ConstTensorView read = block;
  EXPECT_EQ(read.At(0).data<float>(), &values[8]);
}

TEST(ViewTest, NullAndEmptyViewsAreTwoThings) {
  EXPECT_EQ(TensorView().num_elements(), 0);
  std::vector<int32_t> none;
  const ConstTensorView empty(std::span<int32_t>(none), {0, 8});
  EXPECT_EQ(empty.num_elements(), 0);
  EXPECT_EQ(empty.ToString(), "i32[0,8]");
}

TEST(BFloat16Test, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(static_cast<float>(BFloat16(1.0f + 1.0f / 256)), 1.0f);
  EXPECT_EQ(static_cast<float>(BFloat16(1.0f + 3.0f / 256)), 1.015625f);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isinf(static_cast<float>(BFloat16(3.4e38f))));
}

}  // namespace
}  // namespace hetero
