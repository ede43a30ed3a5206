#include "hetero/tensor/ops/elementwise/elementwise.h"

#include <cstdint>
#include <random>
#include <span>
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
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kRows = 5, kColumns = 37, kGap = 3;

TEST(ElementwiseTest, SlicesOfColumnsLeaveTheGapsAlone) {
  std::mt19937_64 generator = FreshGenerator();
  const auto a = HostTensor<float>::Normal({kRows, kColumns}, generator);
  const auto wide = HostTensor<float>::Normal({kRows, kColumns + kGap}, generator);
  HostTensor<float> out = wide;
  StreamWithWorkspace stream;
  const TensorView slice = out.view().Columns(kGap, kColumns);
  ASSERT_THAT(Add(a.view(), slice, slice, *stream), IsOk());
  std::vector<double> expected(wide.values().begin(), wide.values().end());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kColumns; ++c) {
      double& value = expected[r * (kColumns + kGap) + kGap + c];
      value += a[r * kColumns + c];
    }
  }
  EXPECT_THAT(out.values(), IsCloseTo(expected, {.relative = Epsilon<float>()}));
  ASSERT_THAT(Fill(7, slice, *stream), IsOk());
  EXPECT_EQ(out[kGap - 1], wide[kGap - 1]);
  EXPECT_EQ(out[kGap], 7.0f);
}

TEST(CopyTest, ConvertsBetweenFloatsAndRoundsToNearest) {
  HostTensor<double> source({4}, {1.0, 1.00390625, -2.5, 3.0e38});
  HostTensor<float> single({4}), back({4});
  std::vector<BFloat16> half(4);
  const TensorView half_view(std::span<BFloat16>(half), {4});
  StreamWithWorkspace stream;
  ASSERT_THAT(Copy(source.view(), single.view(), *stream), IsOk());
  ASSERT_THAT(Copy(single.view(), half_view, *stream), IsOk());
  ASSERT_THAT(Copy(half_view, back.view(), *stream), IsOk());
  EXPECT_THAT(single.values(), ElementsAre(1.0f, 1.00390625f, -2.5f, 3.0e38f));
  // Eight bits of mantissa: 1 + 2^-8 is a tie and goes to the even neighbour.
  EXPECT_EQ(back[1], 1.0f);
  EXPECT_EQ(back[2], -2.5f);
  HostTensor<int64_t> counts({4}, {1, -2, int64_t{1} << 53, 4});
  HostTensor<double> numbers({4});
  ASSERT_THAT(Copy(counts.view(), numbers.view(), *stream), IsOk());
  EXPECT_THAT(numbers.values(), ElementsAre(1.0, -2.0, 0x1p53, 4.0));
  HostTensor<int32_t> ids({4}, {1, 2, 3, 4});
  for (const TensorView& to : {single.view(), numbers.view(), counts.view()}) {
    EXPECT_THAT(Copy(ids.view(), to, *stream),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("i64 alone is converted")));
  }
}

TEST(CopyTest, GathersAndSpreadsColumns) {
  HostTensor<int32_t> wide({3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}), narrow({3, 2});
  StreamWithWorkspace stream;
  ASSERT_THAT(Copy(wide.view().Columns(1, 2), narrow.view(), *stream), IsOk());
  EXPECT_THAT(narrow.values(), ElementsAre(1, 2, 5, 6, 9, 10));
  ASSERT_THAT(Copy(narrow.view(), wide.view().Columns(2, 2), *stream), IsOk());
  EXPECT_THAT(wide.values(), ElementsAre(0, 1, 1, 2, 4, 5, 5, 6, 8, 9, 9, 10));
}

TEST(ElementwiseErrorsTest, NameTheOperand) {
  HostTensor<float> x({2, 3}), y({3, 2});
  StreamWithWorkspace stream;
  EXPECT_THAT(Add(x.view(), y.view(), x.view(), *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("b is f32[3,2]")));
}

TEST(ElementwiseShapeOnlyTest, RecordsBytesAndTouchesNothing) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const TensorView x(reinterpret_cast<void*>(kShapeOnlyAddress), DType::kF32, {1000});
  EXPECT_THAT(Fill(0, x, *stream), IsOk());
  EXPECT_THAT(Add(x, x, x, *stream), IsOk());
  EXPECT_EQ(stream->ledger().operations().at("add").bytes, 12000);
}

}  // namespace
}  // namespace hetero
